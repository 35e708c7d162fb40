"""A private Redis on a free loopback port (side: host).

Its password stands in its configuration file (0600), never on its command line. Every write is appended to its file
(fsync each second), so a kill loses at most the last second; no accepted work depends on it (ARCHITECTURE, decision 2).
"""

import shutil
from pathlib import Path
from typing import Final

from deploy.embedded.probes import redis_ping
from deploy.embedded.specification import ServiceSpec, base_environment
from deploy.embedded.state import StateDirectory

MEMORY_BYTES: Final = 512 << 20
"""Of all that it holds. Then writes are refused and nothing is thrown away: query fronts say that they are full."""

_SEARCH: Final = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin"


def find_redis() -> Path | None:
    """The server's executable, where Redis is installed."""
    found = shutil.which("redis-server", path=_SEARCH)
    return Path(found) if found else None


def redis_url(state: StateDirectory) -> str:
    """Address with credentials: for settings files of mode 0600 only."""
    return f"redis://:{state.credential('redis')}@127.0.0.1:{state.port('redis')}/0"


def redis_services(state: StateDirectory) -> list[ServiceSpec]:
    """The server. Raises `FileNotFoundError` where Redis is not installed (`require_installed` says more)."""
    server = find_redis()
    if server is None:
        raise FileNotFoundError("redis-server")
    home = state.folder("redis")
    return [
        ServiceSpec(
            name="redis",
            command=(str(server), str(home / "redis.conf")),
            probe=redis_ping(redis_url(state)),
            environment=base_environment(home),
            files={home / "redis.conf": _configuration(state, home)},
            directory=home,
            infrastructure=True,
        )
    ]


def _configuration(state: StateDirectory, home: Path) -> bytes:
    lines = (
        "bind 127.0.0.1",
        f"port {state.port('redis')}",
        "protected-mode yes",
        f"requirepass {state.credential('redis')}",
        "daemonize no",
        'logfile ""',
        f'dir "{home}"',
        'save ""',
        "appendonly yes",
        "appendfsync everysec",
        f"maxmemory {MEMORY_BYTES}",
        "maxmemory-policy noeviction",
    )
    return "\n".join((*lines, "")).encode()
