"""The settings file of each service of the stack, as functions of passwords and keys (side: host).

Paths are those inside the containers, host names those of docker-compose.yml.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from common.identifiers import PartyKey, RoleName
from common.untrusted.launching.settings import ContainerLauncherSettings, Mount
from deploy.compose.brokers import POSTGRES_USER, SECRETS, VIRTUAL_HOST

INSTALLATION: Final = "/var/lib/cloister/installation"
"""Where containers that launch enclaves see simulated platform, release and snapshots."""

OBJECTS: Final = "/var/lib/cloister/objects"
OWN_STATE: Final = "/var/lib/cloister/state"
SLOTS: Final = "/var/lib/cloister/slots"
ARTEFACTS: Final = "/var/lib/cloister/artefacts"
LAUNCH_SOCKET: Final = "/var/lib/cloister/launch/socket"
PORTS: Final = {"attestation": 8440, "ingest": 8441, "query": 8442}
"""Ports inside the containers; where they are published stands in docker-compose.yml."""

HEALTH_PORT: Final = 8440
"""Of a process that serves nothing but its health and its metrics."""

_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - a container's own network namespace


@dataclass(frozen=True, repr=False)
class Passwords:
    """Of RabbitMQ's and Redis's users by name, and of PostgreSQL's one; `metrics`: the token that Prometheus shows."""

    rabbitmq: Mapping[str, str]
    redis: Mapping[str, str]
    postgres: str
    metrics: str


def service_settings(
    passwords: Passwords, *, witness: PartyKey, operator: PartyKey, user: str
) -> dict[str, dict[str, object]]:
    """Service -> what its file says. `user`: user and group that enclaves in containers of their own run as."""
    authority = quote(f"{SECRETS}/authority.pem", safe="")

    def amqp(user: str) -> str:
        password = quote(passwords.rabbitmq[user], safe="")
        return f"amqps://{user}:{password}@rabbitmq:5671/{VIRTUAL_HOST}?cafile={authority}"

    def redis(user: str) -> str:
        password = quote(passwords.redis[user], safe="")
        return f"rediss://{user}:{password}@redis:6379/0?ssl_ca_certs={authority}&ssl_check_hostname=true"

    database = {
        "database_url": f"postgresql+psycopg://{POSTGRES_USER}:{quote(passwords.postgres, safe='')}@postgres:5432/"
        f"{POSTGRES_USER}?sslmode=verify-full&sslrootcert={authority}"
    }
    asking = {
        "attestation_url": f"http://attestation:{PORTS['attestation']}",
        "operator_identity": f"{SECRETS}/operator_key.json",
    }
    release = f"{INSTALLATION}/release"
    launching = {"launcher": f"{INSTALLATION}/launcher.json"}
    serving = {name: {"listen_host": _EVERYWHERE, "listen_port": port} for name, port in PORTS.items()}
    telling = {"listen_host": _EVERYWHERE, "listen_port": HEALTH_PORT}

    def worker(name: str) -> dict[str, object]:
        own = {"amqp_url": amqp(name), "object_directory": OBJECTS, **telling}
        return {**own, **database, **asking, **launching, "worker_name": name + "-{host}"}

    services: dict[str, dict[str, object]] = {
        "attestation": {
            **serving["attestation"],
            **database,
            **launching,
            "state_directory": OWN_STATE,
            "release_file": f"{release}/release.json",
            "measured_files": f"{release}/release.files.json",
            "trust_settings_file": f"{release}/trust_settings.json",
            "services": [operator],
            "witnesses": [witness],
            "witness_quorum": 1,
        },
        "ingest": {
            **serving["ingest"],
            **database,
            **asking,
            "amqp_url": amqp("ingest"),
            "object_directory": OBJECTS,
            "open_enrolment": True,
        },
        "launcher": {
            "listen_port": HEALTH_PORT,
            "socket": LAUNCH_SOCKET,
            "containers": trainer_containers(user).model_dump(mode="json"),
        },
        "trainer": {
            **worker("trainer"),
            "launcher": f"{SECRETS}/trainer_launcher.json",
            "capacity": 1,
            "artefact_directory": ARTEFACTS,
        },
        "paramserver": worker("paramserver"),
        "query": {**serving["query"], **database, "redis_url": redis("query"), "slot_directory": SLOTS},
        "query-worker": {**worker("query-worker"), "redis_url": redis("query-worker"), "slot_directory": SLOTS},
        "witness": {
            **telling,
            "state_directory": OWN_STATE,
            "attestation_url": asking["attestation_url"],
            "identity": f"{SECRETS}/witness_key.json",
            "trust_settings_file": f"{release}/trust_settings.json",
            "poll_seconds": 0.5,
        },
    }
    return {name: {**one, "metrics_token": passwords.metrics} for name, one in services.items()}


def trainer_containers(user: str) -> ContainerLauncherSettings:
    """What a trainer enclave's container is; image and volume are named where they are known (docker-compose.yml)."""
    return ContainerLauncherSettings(
        engine="/run/docker.sock",
        image="cloister/trainer",
        roles=(RoleName("trainer"),),
        launcher=f"{INSTALLATION}/launcher.json",
        mounts=(Mount(source="installation", target=INSTALLATION, writable=True),),
        user=user,
        seccomp_profile="/opt/cloister/code/deploy/compose/seccomp-confining.json",
    )
