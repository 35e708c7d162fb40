"""The state directory: everything that the embedded stack writes lies below it, for its user alone (side: host).

.cloister/  cloister-state    marks the directory as ours: `clean` removes no other
            run/              lock, status, ports, sockets: worthless when the stack is down
            credentials/      made once, 0600: passwords of the private RabbitMQ and Redis
            settings/         what each service reads at its start, 0600
            logs/             one file per service, 0600
            rabbitmq/ redis/  their data;  other folders belong to the services
"""

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
from pathlib import Path
from typing import Final

from common.errors import ConflictError

MARKER: Final = "cloister-state"
_FOLDERS: Final = ("run", "credentials", "settings", "logs")
_PASSWORD_BYTES: Final = 32
_FIRST_PORT: Final = 10_000
_PORTS_ENOUGH: Final = 1_000
_PORT_RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class StateDirectory:
    """The paths below one root. Making the object touches nothing; `prepare` makes the folders."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.run, self.credentials, self.settings, self.logs = (self.root / name for name in _FOLDERS)
        self.lock_file = self.run / "lock"
        self.status_file = self.run / "status.json"
        self.ports_file = self.run / "ports.json"
        self._leave_behind_file = self.run / "leave-behind"

    def prepare(self) -> None:
        """Make the folders, 0700. Raises `ConflictError` for a directory that holds foreign files or another user's."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        foreign = not (self.root / MARKER).exists() and any(self.root.iterdir())
        if foreign or self.root.stat().st_uid != os.geteuid():
            raise ConflictError("conflict.state_directory", seen=self.root)
        self.root.chmod(0o700)
        write_private(self.root / MARKER, b"1\n")
        for name in _FOLDERS:
            self.folder(name)

    def folder(self, name: str) -> Path:
        """A folder of this name below the root, 0700, made where it is missing."""
        path = self.root / name
        path.mkdir(mode=0o700, exist_ok=True)
        return path

    def log_file(self, service: str) -> Path:
        """Where a service's stdout and stderr go."""
        return self.logs / f"{service}.log"

    def credential(self, name: str) -> str:
        """A random password of 256 bits, made at first use and kept."""
        path = self.credentials / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(_PASSWORD_BYTES).encode())
        return path.read_text()

    def port(self, name: str) -> int:
        """The loopback port of this name: chosen free at first use, then kept until the stack is down.

        Raises `KeyError` when nothing chose it and the stack is not this process's to change (see `forget_ports`).
        """
        ports = self.ports()
        if name not in ports:
            ports[name] = _free_port(set(ports.values()))
            write_private(self.ports_file, json.dumps(ports).encode())
        return ports[name]

    def ports(self) -> dict[str, int]:
        """Every port that was chosen, by name."""
        return dict(json.loads(self.ports_file.read_bytes())) if self.ports_file.exists() else {}

    def forget_ports(self) -> None:
        """Choose anew at the next start: another program may have taken a port meanwhile."""
        self.ports_file.unlink(missing_ok=True)

    @property
    def leave_behind(self) -> bool:
        """Whether keys may stay behind at a handover in this run of the stack."""
        return self._leave_behind_file.exists()

    def set_leave_behind(self, *, wanted: bool) -> None:
        """Say so for the next run."""
        if wanted:
            write_private(self._leave_behind_file, b"1\n")
        else:
            self._leave_behind_file.unlink(missing_ok=True)

    def lock(self) -> int | None:
        """Take the lock of a running stack: its descriptor, or None when a stack holds it.

        The lock lives as long as any process that inherited the descriptor.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def is_locked(self) -> bool:
        """Whether a stack runs here."""
        if not self.lock_file.exists():
            return False
        descriptor = self.lock()
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None

    def remove(self) -> None:
        """Delete the directory. Raises `ConflictError` when it is not marked as ours."""
        if not (self.root / MARKER).exists():
            raise ConflictError("conflict.state_directory", seen=self.root)
        shutil.rmtree(self.root)


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600, all or nothing."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)


def _free_port(taken: set[int]) -> int:
    """A port on which nobody listens, at random."""
    ports = _listening_ports()
    while True:
        port = ports.start + secrets.randbelow(len(ports))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in taken:
                return port


def _listening_ports() -> range:
    """Ports that the kernel gives to no outgoing connection (ip(7), ip_local_port_range).

    Such a connection, one of ours even, could take a service's port in the second in which that is restarted.
    """
    first, last = (int(word) for word in _PORT_RANGE_FILE.read_text().split())
    below, above = range(_FIRST_PORT, first), range(last + 1, 65_536)
    return next((ports for ports in (below, above) if len(ports) >= _PORTS_ENOUGH), range(_FIRST_PORT, 65_536))
