"""Enclaves from a process that launches them for us (side: host; both ends of services/enclave_launcher).

A unix SOCK_SEQPACKET connection for each enclave:

    caller     role
    launcher   0, process id (4 bytes), with the descriptor of the door  |  1, public code
    launcher   exit status (4 bytes, signed), once it has ended

The descriptor is the attached connection (`attached`): of the engine the caller gets the three streams of that one
container. Its end of the connection is its hold on the enclave: when it closes, the enclave is killed.
"""

import contextlib
import os
import socket
import threading
from pathlib import Path
from typing import Final, Protocol, Self

from common.errors import Refusal, UnavailableError, refusal_of
from common.untrusted.launching.attached import AttachedDoor
from common.untrusted.launching.settings import LaunchSocketSettings

MAX_PACKET_BYTES: Final = 256
_LAUNCHED, _REFUSED = b"\0", b"\1"
_ANSWER_SECONDS: Final = 90.0


class EnclaveByRequest:
    """`LaunchedEnclave`: its door, and the connection over which it was asked for."""

    def __init__(self, connection: socket.socket, door: AttachedDoor, pid: int) -> None:
        self._connection, self._status = connection, b""
        self._ended = threading.Event()
        self.reader, self.writer, self.pid = door.reader, door.writer, pid
        threading.Thread(target=self._watch, name="enclave-watch", daemon=True).start()

    def wait(self, seconds: float | None = None) -> int | None:
        """As `LaunchedEnclave.wait`; None where the launcher ended first."""
        if not self._ended.wait(seconds):
            raise TimeoutError(f"the enclave runs after {seconds} s")
        return int.from_bytes(self._status, "big", signed=True) if self._status else None

    def kill(self) -> None:
        """Let go of it."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)

    def _watch(self) -> None:
        with self._connection, contextlib.suppress(OSError):
            self._status = self._connection.recv(MAX_PACKET_BYTES)
        self._ended.set()


class SocketLauncher:
    """`EnclaveLauncher` that asks."""

    def __init__(self, settings: LaunchSocketSettings) -> None:
        self._path = settings.socket

    @classmethod
    def of(cls, settings: Path) -> Self:
        """Of a settings file. Raises `FormatError`."""
        return cls(LaunchSocketSettings.decode(settings.read_bytes()))

    def launch(self, role: str) -> EnclaveByRequest:
        """As `EnclaveLauncher.launch`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(self._path)
            connection.sendall(role.encode())
            answer, doors, _, _ = socket.recv_fds(connection, MAX_PACKET_BYTES, 1)
            connection.settimeout(None)
        except OSError as cause:
            connection.close()
            raise UnavailableError(
                "unavailable.launcher", expected=f"a launcher at {self._path}", seen=cause
            ) from cause
        if answer[:1] != _LAUNCHED or len(doors) != 1:
            connection.close()
            raise refusal_of(answer[1:].decode("ascii", errors="replace") or "unavailable.launcher")
        os.set_inheritable(doors[0], False)
        return EnclaveByRequest(connection, AttachedDoor(doors[0]), int.from_bytes(answer[1:], "big"))


class Given(Protocol):
    """What is given away: the descriptor of a door, and the process id."""

    @property
    def door(self) -> int:
        """Closed here once it is given."""

    @property
    def pid(self) -> int:
        """As `LaunchedEnclave.pid`."""


def give(connection: socket.socket, launched: Given) -> None:
    """The other end: hand over the door, which is ours no longer."""
    with os.fdopen(launched.door, "rb", buffering=0) as door:
        socket.send_fds(connection, [_LAUNCHED + launched.pid.to_bytes(4, "big")], [door.fileno()])


def refuse(connection: socket.socket, refusal: Refusal) -> None:
    """The other end: the public code."""
    connection.sendall(_REFUSED + refusal.code.encode())


def tell_end(connection: socket.socket, status: int | None) -> None:
    """The other end: how it ended, where that is known."""
    if status is not None:
        connection.sendall(status.to_bytes(4, "big", signed=True))
