"""The one door of an enclave: framed bytes over its stdin and stdout (side: library; both ends use it).

Frame: body length (4 bytes, big-endian), kind (1), call number (8), body. Both ends may call: a REQUEST carries the
name of a handler and gets one REPLY or ERROR with the same call number; a NOTICE wants no answer; a LOG is an event.
Whatever comes through is untrusted to the enclave and public to the host: trust comes from what is signed or sealed
inside. A handler that refuses answers ERROR with the public code alone; expected and seen never cross the door.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import IntEnum
from typing import BinaryIO, Final

from common.errors import CloisterError, FormatError, PeerClosedError, Refusal, refusal_of
from common.event_log import Value, encode_event

MAX_BODY_BYTES: Final = 32 << 20
"""Largest frame. Bulk data crosses as chunks of 1 MiB."""

_HEAD_BYTES: Final = 13
_NAME_BYTES: Final = 64

Handler = Callable[[bytes], bytes]


class Kind(IntEnum):
    """What a frame is."""

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    NOTICE = 4
    LOG = 5


def _encode_named(name: str, body: bytes) -> bytes:
    raw = name.encode("ascii")
    if not 0 < len(raw) <= _NAME_BYTES:
        raise ValueError("a door handler's name has 1 to 64 ASCII characters")
    return bytes([len(raw)]) + raw + body


def _decode_named(body: bytes) -> tuple[str, bytes]:
    if not body or not 0 < body[0] <= _NAME_BYTES or len(body) <= body[0]:
        raise FormatError("format.door_frame", expected="a named body")
    return body[1 : 1 + body[0]].decode("ascii", errors="replace"), body[1 + body[0] :]


class Door:
    """One end of the door. `serve` reads until the other end closes; calls may come from any thread.

    `handlers` answer requests by name on `workers` threads, so a slow one does not stop the others. Notices are handled
    one after the other, in the order in which they were sent: frames of a stream travel as notices. Requests for a
    handler of `inline` are answered by the thread that reads, sooner and before anything else is heard: short ones.
    `on_log` receives LOG bodies (the host end prints them).
    """

    def __init__(
        self,
        reader: BinaryIO,
        writer: BinaryIO,
        handlers: Mapping[str, Handler],
        *,
        workers: int = 4,
        inline: Collection[str] = (),
        on_log: Callable[[bytes], None] | None = None,
    ) -> None:
        self._reader, self._writer = reader, writer
        self._handlers = dict(handlers)
        self._inline = frozenset(name.encode() for name in inline)
        self._on_log = on_log
        self._write_lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="door")
        self._notices = ThreadPoolExecutor(max_workers=1, thread_name_prefix="door-notices")
        self.closed = threading.Event()

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """Ask the other end. Raises its `Refusal`; `PeerClosedError` when it is gone; `TimeoutError`."""
        number, future = next(self._numbers), Future[bytes]()
        self._waiting[number] = future
        try:
            if self.closed.is_set():
                raise PeerClosedError("the door is closed")
            self._send(Kind.REQUEST, number, _encode_named(name, body))
            return future.result(timeout=seconds)
        finally:
            self._waiting.pop(number, None)

    def notify(self, name: str, body: bytes) -> None:
        """Tell the other end; no answer."""
        self._send(Kind.NOTICE, 0, _encode_named(name, body))

    def log(self, event: str, **fields: Value) -> None:
        """Send an event to the host's log (allow-listed fields only)."""
        with contextlib.suppress(PeerClosedError):
            self._send(Kind.LOG, 0, encode_event(event, fields))

    def serve(self) -> None:
        """Read and dispatch until end of file; then every waiting call raises `PeerClosedError`."""
        try:
            while head := self._read_exactly(_HEAD_BYTES):
                length, kind, number = int.from_bytes(head[:4], "big"), head[4], int.from_bytes(head[5:], "big")
                if length > MAX_BODY_BYTES:
                    raise FormatError("format.door_frame", expected=f"at most {MAX_BODY_BYTES} bytes", seen=length)
                body = self._read_exactly(length) if length else b""
                if len(body) != length:
                    raise PeerClosedError("the stream ended inside a frame")
                self._dispatch(kind, number, body)
        except (PeerClosedError, FormatError, OSError, ValueError):
            pass  # a broken stream ends like a closed one: nothing behind it can be trusted to be a frame
        finally:
            self._close()

    def _close(self) -> None:
        self.closed.set()
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(PeerClosedError("the door is closed"))
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._notices.shutdown(wait=False)  # the last words before the end of file are still heard

    def _read_exactly(self, count: int) -> bytes:
        """`count` bytes, or none at the end; a pipe that is not buffered gives a large frame in pieces."""
        data = bytearray()
        while len(data) < count:
            piece = self._reader.read(count - len(data))
            if not piece and data:
                raise PeerClosedError("the stream ended inside a frame")
            if not piece:
                return b""
            data += piece
        return bytes(data)

    def _send(self, kind: Kind, number: int, body: bytes) -> None:
        head = len(body).to_bytes(4, "big") + bytes([kind]) + number.to_bytes(8, "big")
        try:
            left = memoryview(head + body)
            with self._write_lock:
                while left:
                    left = left[self._writer.write(left) :]
                self._writer.flush()
        except (OSError, ValueError) as cause:
            raise PeerClosedError("the door is closed") from cause

    def _dispatch(self, kind: int, number: int, body: bytes) -> None:
        if kind in (Kind.REPLY, Kind.ERROR):
            future = self._waiting.get(number)
            if future is not None and not future.done():
                if kind == Kind.REPLY:
                    future.set_result(body)
                else:
                    future.set_exception(refusal_of(body.decode("ascii", errors="replace")))
        elif kind == Kind.REQUEST and body[1 : 1 + body[0] if body else 1] in self._inline:
            self._answer(kind, number, body)
        elif kind in (Kind.REQUEST, Kind.NOTICE):
            (self._pool if kind == Kind.REQUEST else self._notices).submit(self._answer, kind, number, body)
        elif kind == Kind.LOG and self._on_log is not None:
            self._on_log(body)

    def _answer(self, kind: int, number: int, body: bytes) -> None:
        try:
            name, inner = _decode_named(body)
            reply = self._handlers[name](inner) if name in self._handlers else None
            if reply is None:
                raise FormatError("format.door_frame", expected=f"one of {sorted(self._handlers)}")
            answer = (Kind.REPLY, reply)
        except Refusal as refusal:
            answer = (Kind.ERROR, refusal.code.encode())
        except CloisterError:
            answer = (Kind.ERROR, b"unavailable.enclave")
        except Exception:
            answer = (Kind.ERROR, b"unavailable.enclave")
        if kind == Kind.REQUEST:
            with contextlib.suppress(PeerClosedError):
                self._send(answer[0], number, answer[1])
