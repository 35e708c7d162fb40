"""A TPM as a file or socket that takes command bytes and gives response bytes (side: host).

Linux's `/dev/tpmrm0`, whose resource manager keeps users of one TPM apart (needs no other package), or the socket of an
emulator (`unix:PATH`).
"""

import os
import socket
from pathlib import Path
from typing import Final, Protocol

from common.errors import UnavailableError

_MAX_RESPONSE_BYTES: Final = 4096
_SOCKET: Final = "unix:"
_SECONDS: Final = 60.0


class TpmDevice(Protocol):
    """One command at a time."""

    def exchange(self, command: bytes) -> bytes:
        """The response. Raises `UnavailableError` (unavailable.tpm)."""

    def close(self) -> None:
        """Let go of it."""


def open_tpm(name: str) -> TpmDevice:
    """The device of this name. Raises `UnavailableError` (unavailable.tpm)."""
    try:
        return _SocketDevice(Path(name.removeprefix(_SOCKET))) if name.startswith(_SOCKET) else _FileDevice(Path(name))
    except OSError as cause:
        raise UnavailableError("unavailable.tpm", expected=name, seen=cause.strerror) from cause


class _FileDevice:
    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def exchange(self, command: bytes) -> bytes:
        try:
            os.write(self._file, command)
            return os.read(self._file, _MAX_RESPONSE_BYTES)
        except OSError as cause:
            raise UnavailableError("unavailable.tpm", seen=cause.strerror) from cause

    def close(self) -> None:
        os.close(self._file)


class _SocketDevice:
    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def exchange(self, command: bytes) -> bytes:
        try:
            self._socket.sendall(command)
            response = self._receive(b"", 10)
            return self._receive(response, int.from_bytes(response[2:6], "big"))
        except OSError as cause:
            raise UnavailableError("unavailable.tpm", seen=cause.strerror) from cause

    def _receive(self, response: bytes, size: int) -> bytes:
        while len(response) < min(size, _MAX_RESPONSE_BYTES):
            more = self._socket.recv(_MAX_RESPONSE_BYTES)
            if not more:
                raise UnavailableError("unavailable.tpm", expected="a response")
            response += more
        return response

    def close(self) -> None:
        self._socket.close()
