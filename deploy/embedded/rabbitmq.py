"""A private RabbitMQ with its own epmd, on free loopback ports (side: host).

Works as root and as an ordinary user, beside a system broker that it never touches: node `node@localhost`, own HOME
(hence own Erlang cookie), own data, own epmd (one that a node starts becomes a daemon and outlives it). Only settings
that RabbitMQ 3.10 and 4 share. There is no `guest`: the first start makes our user instead of it
(rabbitmq.com/docs/access-control, default_user).
"""

from pathlib import Path
from typing import Final
from urllib.parse import quote

from deploy.embedded.probes import amqp_login, epmd_answers
from deploy.embedded.specification import ServiceSpec, base_environment
from deploy.embedded.state import StateDirectory

USER: Final = "cloister"
VIRTUAL_HOST: Final = "cloister"

_SCRIPTS: Final = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server",
)
"""Debian's wrapper in /usr/sbin refuses every user but root and rabbitmq; the script behind it does not."""

_EPMD: Final = ("/usr/bin/epmd", "/usr/lib/erlang/bin/epmd", "/usr/lib/erlang/erts-*/bin/epmd")


def find_rabbitmq() -> Path | None:
    """The server's start script, where RabbitMQ is installed together with epmd."""
    script = _first(_SCRIPTS)
    return script if script is not None and _first(_EPMD) is not None else None


def amqp_url(state: StateDirectory) -> str:
    """Address with credentials: for settings files of mode 0600 only."""
    return f"amqp://{USER}:{quote(state.credential('amqp'), safe='')}@127.0.0.1:{state.port('amqp')}/{VIRTUAL_HOST}"


def rabbitmq_services(state: StateDirectory) -> list[ServiceSpec]:
    """epmd and the node. Raises `FileNotFoundError` where RabbitMQ is not installed (`require_installed` says more)."""
    script, epmd = find_rabbitmq(), _first(_EPMD)
    if script is None or epmd is None:
        raise FileNotFoundError("rabbitmq-server")
    home = state.folder("rabbitmq")
    epmd_port = str(state.port("epmd"))
    return [
        ServiceSpec(
            name="epmd",
            command=(str(epmd), "-port", epmd_port, "-address", "127.0.0.1"),
            probe=epmd_answers(int(epmd_port)),
            environment=base_environment(home),
            directory=home,
            infrastructure=True,
        ),
        ServiceSpec(
            name="rabbitmq",
            command=(str(script),),
            probe=amqp_login(amqp_url(state)),
            environment={**base_environment(home), **_environment(state, home, epmd_port)},
            files={home / "rabbitmq.conf": _configuration(state), home / "enabled_plugins": b"[].\n"},
            depends_on=("epmd",),
            directory=home,
            infrastructure=True,
            stop_seconds=30.0,
        ),
    ]


_LOCAL: Final = ("-kernel inet_dist_use_interface {127,0,0,1}", "-start_epmd false")
_NO_SPINNING: Final = ("+sbwt none", "+sbwtdcpu none", "+sbwtdio none")
"""Schedulers of the Erlang VM that have nothing to do wait for work asleep (erl(1)): frames come once a tick, and what
spins in between has the processor that trainers want.
"""


def _environment(state: StateDirectory, home: Path, epmd_port: str) -> dict[str, str]:
    return {
        "RABBITMQ_NODENAME": "node@localhost",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_MNESIA_BASE": str(home / "data"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_DIST_PORT": str(state.port("rabbitmq-distribution")),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join((*_LOCAL, *_NO_SPINNING)),
        "ERL_EPMD_PORT": epmd_port,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # the script then replaces itself by the Erlang VM, so that signals meet the node and not a shell
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def _configuration(state: StateDirectory) -> bytes:
    lines = (
        f"listeners.tcp.1 = 127.0.0.1:{state.port('amqp')}",
        f"default_user = {USER}",
        f"default_pass = {state.credential('amqp')}",
        f"default_vhost = {VIRTUAL_HOST}",
        "default_user_tags.administrator = false",
        "log.console = true",
        "log.console.level = warning",
        "log.connection.level = error",
        "disk_free_limit.absolute = 200MB",
    )
    return "\n".join((*lines, "")).encode()


def _first(patterns: tuple[str, ...]) -> Path | None:
    found = (path for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/"))))
    return next(found, None)
