"""The door of an enclave in a container: one connection, attached to its stdin, stdout and stderr (side: host).

After an attach the engine's connection is a byte stream and no HTTP any more, so whoever holds it reaches the three
streams of that container and nothing else. To the container go plain bytes. From it come records: kind (1 byte: 1
stdout, 2 stderr), three zeros, length (4 bytes, big-endian), bytes (docs.docker.com, Engine API, "Attach to a
container"). On stderr are the events of the launcher beside the enclave; they go to our own.
"""

import contextlib
import io
import socket
import sys
from typing import BinaryIO, Final, cast

_HEAD_BYTES: Final = 8
_STDOUT: Final = 1
_BUFFER_BYTES: Final = 64 << 10


class _Output(io.RawIOBase):
    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._left = connection, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        while not self._left:
            head = self._exactly(_HEAD_BYTES)
            if not head:
                return 0
            kind, length = head[0], int.from_bytes(head[4:], "big")
            if kind == _STDOUT:
                self._left = length
            else:
                _pass_on(self._exactly(length))
        with memoryview(buffer) as whole:
            count = self._connection.recv_into(whole[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        super().close()
        self._connection.close()

    def _exactly(self, count: int) -> bytes:
        """`count` bytes, or none where the stream ends before."""
        data = self._connection.recv(count, socket.MSG_WAITALL) if count else b""
        return data if len(data) == count else b""


class _Input(io.RawIOBase):
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]
        return self._connection.send(data)

    def close(self) -> None:
        if not self.closed:
            super().close()
            with contextlib.suppress(OSError):  # the other end was faster
                self._connection.shutdown(socket.SHUT_WR)


class AttachedDoor:
    """`reader` and `writer` of a door over such a connection, given by its descriptor."""

    def __init__(self, descriptor: int) -> None:
        self._connection = socket.socket(fileno=descriptor)
        self._connection.setblocking(True)
        self.reader: Final = cast("BinaryIO", io.BufferedReader(_Output(self._connection), _BUFFER_BYTES))
        self.writer: Final = cast("BinaryIO", _Input(self._connection))


def _pass_on(text: bytes) -> None:
    sys.stderr.write(text.decode("utf-8", errors="replace"))
    sys.stderr.flush()
