"""Prepares an installation on the operator's machine: every file that docker-compose.yml mounts (side: host).

    STATE/secrets/       what containers find below /run/secrets, 0600, for the user that they run as
    STATE/credentials/   passwords, made once
    STATE/authority/     the installation's own authority; its key is mounted nowhere
    STATE/release/       public documents that the stack writes at each start (`installation`)
    STATE/prometheus/    what Prometheus keeps, where it runs
    .env                 what docker-compose.yml takes from its environment: user, group, STATE; no secret

Passwords, keys and certificates that are there are kept, so it may be run again, after an upgrade for instance; what
follows from them is written anew. Containers run as the user who prepared; root prepares for `ROOTLESS_ID`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from common.crypto.key_file import Identity
from common.errors import ConflictError
from common.untrusted.launching.settings import LaunchSocketSettings
from deploy.compose.authority import Authority
from deploy.compose.brokers import (
    RABBITMQ_PERMISSIONS,
    REDIS_RULES,
    postgres_hosts,
    postgres_script,
    rabbitmq_configuration,
    rabbitmq_definitions,
    redis_configuration,
)
from deploy.compose.settings import LAUNCH_SOCKET, Passwords, service_settings
from deploy.embedded.state import StateDirectory, write_private

STATE_DIRECTORY: Final = Path(".cloister-compose")
ROOTLESS_ID: Final = 10_001
"""User and group of the containers where root prepares."""

DEFAULT_ENGINE: Final = "/var/run/docker.sock"
SERVERS: Final = ("rabbitmq", "redis", "postgres")
IDENTITIES: Final = ("operator", "witness")
_ENVIRONMENT_MARK: Final = "# written by cloister compose prepare"


def prepare(directory: Path, environment_file: Path, ports: Mapping[str, int]) -> list[Path]:
    """Write all of it; the secrets' files. `ports`: where services are published on the loopback.

    Raises `ConflictError` (conflict.state_directory) where a directory or file of others is in the way.
    """
    if environment_file.exists() and not environment_file.read_text().startswith(_ENVIRONMENT_MARK):
        raise ConflictError("conflict.state_directory", seen=environment_file)
    state = StateDirectory(directory)
    state.prepare()
    secrets, shared = state.folder("secrets"), [state.folder(name) for name in ("release", "prometheus")]
    user, group = (os.geteuid(), os.getegid()) if os.geteuid() else (ROOTLESS_ID, ROOTLESS_ID)
    for path, content in _secrets(state, secrets, f"{user}:{group}"):
        write_private(path, content)
    files = sorted(secrets.iterdir())
    for path in (*files, *shared, *(one for folder in shared for one in folder.iterdir())):
        os.chown(path, user, group)
    values = {"UID": user, "GID": group, "COMPOSE_STATE": state.root, **_engine()}
    _write_environment(environment_file, values | {f"{name.upper()}_PORT": port for name, port in ports.items()})
    return files


def _engine() -> dict[str, object]:
    """The engine's socket, and the group that may open it: those of DOCKER_HOST, as for every command of Docker's."""
    address = os.environ.get("DOCKER_HOST", "")
    socket = Path(address.removeprefix("unix://") if address.startswith("unix://") else DEFAULT_ENGINE)
    return {"ENGINE_SOCKET": socket, "ENGINE_GID": socket.stat().st_gid if socket.exists() else 0}


def _secrets(state: StateDirectory, secrets: Path, user: str) -> Iterator[tuple[Path, bytes]]:
    for name in IDENTITIES:
        if not (path := secrets / f"{name}_key.json").exists():
            Identity.generate(name, unsafe_simulation=True).write(path)
    yield from _certificates(state, secrets)
    passwords = Passwords(
        {user: state.credential(f"rabbitmq-{user}") for user in RABBITMQ_PERMISSIONS},
        {user: state.credential(f"redis-{user}") for user in REDIS_RULES},
        state.credential("postgres"),
        state.credential("metrics"),
    )
    yield secrets / "rabbitmq.conf", rabbitmq_configuration()
    yield secrets / "rabbitmq_plugins", b"[].\n"
    yield secrets / "rabbitmq_definitions.json", rabbitmq_definitions(passwords.rabbitmq)
    yield secrets / "redis.conf", redis_configuration(passwords.redis)
    yield secrets / "postgres_admin", state.credential("postgres-admin").encode()
    yield secrets / "postgres.sql", postgres_script(passwords.postgres)
    yield secrets / "postgres_hosts", postgres_hosts()
    yield secrets / "metrics_token", passwords.metrics.encode()
    yield secrets / "grafana_admin", state.credential("grafana-admin").encode()
    witness, operator = (
        Identity.read(secrets / f"{name}_key.json").signing_key.party for name in ("witness", "operator")
    )
    for name, settings in service_settings(passwords, witness=witness, operator=operator, user=user).items():
        yield secrets / f"{name}_settings.json", json.dumps(settings, indent=1).encode()
    yield secrets / "trainer_launcher.json", LaunchSocketSettings(socket=LAUNCH_SOCKET).encode()


def _certificates(state: StateDirectory, secrets: Path) -> Iterator[tuple[Path, bytes]]:
    place = state.folder("authority")
    key, certificate = place / "authority.key", place / "authority.pem"
    authority = Authority.read(key, certificate) if certificate.exists() else Authority.generate()
    write_private(key, authority.key_pem)
    write_private(certificate, authority.certificate_pem)
    yield secrets / "authority.pem", authority.certificate_pem
    for server in SERVERS:
        if not (secrets / f"{server}.pem").exists():
            server_key, server_certificate = authority.issue(server)
            yield secrets / f"{server}.key", server_key
            yield secrets / f"{server}.pem", server_certificate


def _write_environment(path: Path, values: Mapping[str, object]) -> None:
    lines = (f"{_ENVIRONMENT_MARK}; no secret", *(f"CLOISTER_{name}={value}" for name, value in values.items()))
    path.write_text("\n".join((*lines, "")))
