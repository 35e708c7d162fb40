"""The one door of an enclave: framed bytes over its stdin and stdout (side: library; both ends use it).

Frame: body length (4 bytes, big-endian), kind (1), call number (8), body. Both ends may call: a REQUEST carries the
name of a handler and gets one REPLY or ERROR with the same call number; a NOTICE wants no answer; a LOG is an event.
Whatever comes through is untrusted to the enclave and public to the host: trust comes from what is signed or sealed
inside. A handler that refuses answers ERROR with the public code alone; expected and seen never cross the door.
"""

import contextlib
import functools
import io
import itertools
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from enum import IntEnum
from typing import BinaryIO, Final, cast

from common.errors import FormatError, PeerClosedError, Refusal, refusal_of
from common.messages.enclave_events import EnclaveEvent, encode_event
from common.punctual import write_at

MAX_BODY_BYTES: Final = 32 << 20
"""Largest frame. Bulk data crosses as chunks of 1 MiB."""

_HEAD_BYTES: Final = 13
_NAME_BYTES: Final = 64

Handler = Callable[[bytes], bytes]

Begin = Callable[[bytes], Future[bytes]]
"""A handler that returns at once; its answer follows when the future is done."""

Answer = Callable[[float], bytes]
"""Waits so many seconds for what was asked. Raises the other end's `Refusal`, `PeerClosedError` or `TimeoutError`."""


class Kind(IntEnum):
    """What a frame is."""

    REQUEST = 1
    REPLY = 2
    ERROR = 3
    NOTICE = 4
    LOG = 5


def _encode_name(name: str) -> bytes:
    raw = name.encode("ascii")
    if not 0 < len(raw) <= _NAME_BYTES:
        raise ValueError("a door handler's name has 1 to 64 ASCII characters")
    return bytes([len(raw)]) + raw


def _decode_named(body: bytearray) -> tuple[str, bytes]:
    if not body or not 0 < body[0] <= _NAME_BYTES or len(body) <= body[0]:
        raise FormatError("format.door_frame", expected="a named body")
    end = 1 + body[0]
    return body[1:end].decode("ascii", errors="replace"), bytes(memoryview(body)[end:])


class Door:
    """One end of the door. `serve` reads until the other end closes; calls may come from any thread.

    `handlers` answer requests by name on `workers` threads, so a slow one does not stop the others. Notices are handled
    one after the other, in the order in which they were sent: frames of a stream travel as notices. Requests for a
    handler of `inline` are answered by the thread that reads, sooner and before anything else is heard: short ones.
    So are those of `begun`, which never wait: many answers can be under way without a thread for each.
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
        begun: Mapping[str, Begin] | None = None,
        on_log: Callable[[bytes], None] | None = None,
    ) -> None:
        self._reader, self._writer = cast("io.BufferedReader", reader), writer
        self._handlers = dict(handlers)
        self._begun = dict(begun or {})
        self._inline = frozenset(name.encode() for name in (*inline, *self._begun))
        self._on_log = on_log
        self._write_lock, self._own = threading.Lock(), threading.local()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[bytes]] = {}
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="door")
        self._notices = ThreadPoolExecutor(max_workers=1, thread_name_prefix="door-notices")
        self.closed = threading.Event()

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """Ask the other end. Raises its `Refusal`; `PeerClosedError` when it is gone; `TimeoutError`."""
        return self.begin(name, body)(seconds)

    def begin(self, name: str, body: bytes) -> Answer:
        """Ask the other end now, and wait for its answer where there is time: by the call that is returned.

        Raises `PeerClosedError`.
        """
        number, future = self._ask(name, body)

        def answer(seconds: float) -> bytes:
            try:
                return future.result(timeout=seconds)
            finally:
                self._waiting.pop(number, None)

        return answer

    def ask(self, name: str, body: bytes) -> Future[bytes]:
        """Ask the other end now; its answer, its `Refusal` or `PeerClosedError` comes in the future, which cannot be
        cancelled: whoever waits no longer leaves it be, or fails it himself. Raises `PeerClosedError`.
        """
        number, future = self._ask(name, body)
        future.add_done_callback(lambda _done: self._waiting.pop(number, None))
        return future

    def _ask(self, name: str, body: bytes) -> tuple[int, Future[bytes]]:
        number, future = next(self._numbers), Future[bytes]()
        future.set_running_or_notify_cancel()
        self._waiting[number] = future
        try:
            if self.closed.is_set():
                raise PeerClosedError("the door is closed")
            self._send(Kind.REQUEST, number, body, _encode_name(name))
        except BaseException:
            self._waiting.pop(number, None)
            raise
        return number, future

    def notify(self, name: str, body: bytes) -> None:
        """Tell the other end; no answer."""
        self._send(Kind.NOTICE, 0, body, _encode_name(name))

    def log(self, event: EnclaveEvent) -> None:
        """Send an event to the host's log. Raises `RuntimeError` for what is none (common/messages/enclave_events)."""
        raw = encode_event(event)
        with contextlib.suppress(PeerClosedError):
            self._send(Kind.LOG, 0, raw)

    @contextlib.contextmanager
    def together(self, at: float) -> Iterator[None]:
        """What this thread sends meanwhile leaves at the end, in one piece and not before `at` (monotonic seconds);
        nothing, if the end is not reached.

        Between two pieces other threads would take the interpreter, and when the second one leaves would tell how busy
        they are. Raises `PeerClosedError`.
        """
        self._own.pieces = pieces = list[bytes]()
        try:
            yield
        finally:
            self._own.pieces = None
        self._write_at(b"".join(pieces), at)

    def _write_at(self, piece: bytes, at: float) -> None:
        try:
            with self._write_lock:
                self._writer.flush()
                written = write_at(self._writer.fileno(), piece, at)
                self._write_parts(piece[written:])  # what is left, before another thread's
        except (OSError, ValueError) as cause:
            raise PeerClosedError("the door is closed") from cause

    def serve(self) -> None:
        """Read and dispatch until end of file; then every waiting call raises `PeerClosedError`."""
        try:
            while head := self._read_exactly(_HEAD_BYTES):
                length, kind, number = int.from_bytes(head[:4], "big"), head[4], int.from_bytes(head[5:], "big")
                if length > MAX_BODY_BYTES:
                    raise FormatError("format.door_frame", expected=f"at most {MAX_BODY_BYTES} bytes", seen=length)
                body = self._read_exactly(length)
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
            with contextlib.suppress(InvalidStateError):
                future.set_exception(PeerClosedError("the door is closed"))
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._notices.shutdown(wait=False)  # the last words before the end of file are still heard

    def _read_exactly(self, count: int) -> bytearray:
        """`count` bytes, or none at the end; a pipe that is not buffered gives a large frame in pieces."""
        data, have = bytearray(count), 0
        with memoryview(data) as left:
            while have < count:
                piece = self._reader.readinto(left[have:])
                if not piece and have:
                    raise PeerClosedError("the stream ended inside a frame")
                if not piece:
                    return bytearray()
                have += piece
        return data

    def _send(self, kind: Kind, number: int, body: bytes, name: bytes = b"") -> None:
        """Bodies are large: none is copied to stand behind its head."""
        head = (len(name) + len(body)).to_bytes(4, "big") + bytes([kind]) + number.to_bytes(8, "big") + name
        pieces: list[bytes] | None = getattr(self._own, "pieces", None)
        if pieces is None:
            self._write(head, body)
        else:
            pieces += (head, body)

    def _write(self, *parts: bytes) -> None:
        try:
            with self._write_lock:
                self._write_parts(*parts)
        except (OSError, ValueError) as cause:
            raise PeerClosedError("the door is closed") from cause

    def _write_parts(self, *parts: bytes) -> None:
        for part in parts:
            left = memoryview(part)
            while left:
                left = left[self._writer.write(left) :]
        self._writer.flush()

    def _dispatch(self, kind: int, number: int, body: bytearray) -> None:
        if kind in (Kind.REPLY, Kind.ERROR):
            future = self._waiting.get(number)
            with contextlib.suppress(InvalidStateError):  # whoever waited may have given it up
                if future is not None and kind == Kind.REPLY:
                    future.set_result(bytes(body))
                elif future is not None:
                    future.set_exception(refusal_of(body.decode("ascii", errors="replace")))
        elif kind == Kind.REQUEST and bytes(body[1 : 1 + body[0] if body else 1]) in self._inline:
            self._answer(kind, number, body)
        elif kind in (Kind.REQUEST, Kind.NOTICE):
            (self._pool if kind == Kind.REQUEST else self._notices).submit(self._answer, kind, number, body)
        elif kind == Kind.LOG and self._on_log is not None:
            self._on_log(bytes(body))

    def _answer(self, kind: int, number: int, body: bytearray) -> None:
        try:
            name, inner = _decode_named(body)
            if kind == Kind.REQUEST and name in self._begun:
                self._begun[name](inner).add_done_callback(lambda done: self._reply(kind, number, done.result))
                return
            handler = self._handlers.get(name)
            if handler is None:
                raise FormatError("format.door_frame", expected=f"one of {sorted((*self._handlers, *self._begun))}")
        except Exception as failure:
            self._reply(kind, number, functools.partial(_raise, failure))
        else:
            self._reply(kind, number, functools.partial(handler, inner))

    def _reply(self, kind: int, number: int, result: Callable[[], bytes]) -> None:
        try:
            answer = (Kind.REPLY, result())
        except Refusal as refusal:
            answer = (Kind.ERROR, refusal.code.encode())
        except Exception:
            answer = (Kind.ERROR, b"unavailable.enclave")
        if kind == Kind.REQUEST:
            with contextlib.suppress(PeerClosedError):
                self._send(answer[0], number, answer[1])


def _raise(failure: Exception) -> bytes:
    raise failure
