"""Frames over one TCP connection between two relays: greeting and framing (side: host; it sees sealed frames).

    trainer's relay     magic "CLFT" 01 | job id (36 ASCII bytes) | the job's token (32)
    then both ways      length (4, big-endian) | frame

The token is made for each opening of a job and stands on the job board, where the host's own processes read it. It
keeps strangers' traffic out; what a frame is worth is for the enclaves to judge.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from common.errors import FormatError
from common.identifiers import JobId

TOKEN_BYTES: Final = 32
OUTBOX_FRAMES: Final = 4096
"""Frames that wait to be sent; more means that the other end does not keep up, and the oldest are lost."""

MAX_FRAME_BYTES: Final = 4 << 20
"""The largest that an order may name (common/messages/order.Schedule)."""

_MAGIC: Final = b"CLFT\x01"
_JOB_BYTES: Final = 36
_GREETING_BYTES: Final = len(_MAGIC) + _JOB_BYTES + TOKEN_BYTES
_BUFFER_BYTES: Final = 1 << 16


def send_greeting(connection: socket.socket, job_id: JobId, token: bytes) -> None:
    """What a trainer's relay says first."""
    connection.sendall(_MAGIC + job_id.encode("ascii") + token)


def read_greeting(connection: socket.socket) -> tuple[JobId, bytes]:
    """Whose relay this is, and its token. Raises `FormatError` or `OSError`."""
    raw = bytearray()
    while len(raw) < _GREETING_BYTES:
        piece = connection.recv(_GREETING_BYTES - len(raw))
        if not piece:
            raise FormatError("format.frame", expected="a greeting")
        raw += piece
    if not raw.startswith(_MAGIC):
        raise FormatError("format.frame", expected="a greeting of version 1")
    job = bytes(raw[len(_MAGIC) : -TOKEN_BYTES]).decode("ascii", errors="replace")
    return JobId(job), bytes(raw[-TOKEN_BYTES:])


class FrameStream:
    """One greeted connection. `send` queues and never waits; a thread sends, the caller's thread reads."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outbox: deque[bytes] = deque(maxlen=OUTBOX_FRAMES)
        self._ready = threading.Condition()
        self._closed = False
        self._sender = threading.Thread(target=self._send_all, name="frames-out", daemon=True)
        self._sender.start()

    def send(self, frame: bytes) -> None:
        """Queue a frame; the oldest is lost where too many wait."""
        with self._ready:
            self._outbox.append(frame)
            self._ready.notify()

    def frames(self) -> Iterator[bytes]:
        """What the other end sends, until it ends. Raises `FormatError` for a length that no order has; `OSError`."""
        with self._connection.makefile("rb", buffering=_BUFFER_BYTES) as reader:
            while head := reader.read(4):
                length = int.from_bytes(head, "big")
                if len(head) < 4 or not 0 < length <= MAX_FRAME_BYTES:
                    raise FormatError("format.frame", expected=f"1 to {MAX_FRAME_BYTES} bytes", seen=length)
                frame = reader.read(length)
                if len(frame) < length:
                    return
                yield frame

    def close(self) -> None:
        """End the connection and its sender."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def _send_all(self) -> None:
        with contextlib.suppress(OSError):
            while (batch := self._next_batch()) is not None:
                for frame in batch:
                    self._connection.sendall(len(frame).to_bytes(4, "big") + frame)

    def _next_batch(self) -> list[bytes] | None:
        with self._ready:
            while not self._outbox and not self._closed:
                self._ready.wait()
            batch = list(self._outbox)
            self._outbox.clear()
            return None if self._closed else batch
