"""Frames straight between relays, the parameter server's end: trainers' relays connect to it (side: host).

The fast alternative to RabbitMQ for installations whose hosts reach each other; the frames are the same, and so is what
the enclaves make of them. Where a job's hub listens, and the token that it wants, stands on the job board
(`JobBoard.frame_route`), so several parameter servers need no settings of each other.
"""

import contextlib
import hmac
import logging
import secrets
import socket
import threading
from typing import Final

from common.errors import CloisterError
from common.event_log import log_event
from common.identifiers import JobId
from common.untrusted.carried import ByteCount
from common.untrusted.frame_stream import TOKEN_BYTES, FrameStream, read_greeting
from common.untrusted.frame_transport import OnFrame, job_of_key, uplink_key
from common.untrusted.job_board import FrameRoute, JobBoard

_GREETING_SECONDS: Final = 5.0
_BACKLOG: Final = 128
MAX_STREAMS: Final = 4096
MAX_STRANGERS: Final = 1024
"""Connections at once, and those of them that have not greeted yet; further ones are closed."""

_log = logging.getLogger("frames")


class FrameHub:
    """Listens at `address` (host, port; port 0: any), and tells trainers to come to `advertised`, if not there.

    It takes and gives frames as `FrameTransport` does.
    """

    def __init__(
        self, address: tuple[str, int], board: JobBoard, on_frame: OnFrame, advertised: str | None = None
    ) -> None:
        self._board, self._on_frame, self._advertised = board, on_frame, advertised or address[0]
        self._socket = socket.create_server(address, backlog=_BACKLOG)
        self.port = int(self._socket.getsockname()[1])
        self._tokens: dict[JobId, bytes] = {}
        self._streams: dict[JobId, list[FrameStream]] = {}
        self._lock, self._strangers = threading.Lock(), threading.BoundedSemaphore(MAX_STRANGERS)
        self._thread = threading.Thread(target=self._accept, name="frame-hub", daemon=True)
        self.carried, self.connected = ByteCount(), threading.Event()

    def start(self) -> None:
        """Accept connections."""
        self._thread.start()
        self.connected.set()

    def stop(self) -> None:
        """End all of them."""
        self.connected.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for job_id in list(self._tokens):
            self._end(job_id)

    def listen(self, key: str) -> None:
        """Let trainers of this job come, and tell them where."""
        job_id, token = job_of_key(key), secrets.token_bytes(TOKEN_BYTES)
        with self._lock:
            self._tokens[job_id] = token
        self._board.open_frame_route(job_id, FrameRoute(self._advertised, self.port, token))

    def forget(self, key: str) -> None:
        """No more of this job."""
        job_id = job_of_key(key)
        token = self._end(job_id)
        if token is not None:
            with contextlib.suppress(CloisterError):
                self._board.close_frame_route(job_id, token)

    def publish(self, key: str, frame: bytes) -> None:
        """Send a frame to every trainer of the job."""
        with self._lock:
            streams = list(self._streams.get(job_of_key(key), ()))
        for stream in streams:
            stream.send(frame)
        self.carried.add(len(frame))

    def _end(self, job_id: JobId) -> bytes | None:
        with self._lock:
            token, streams = self._tokens.pop(job_id, None), self._streams.pop(job_id, [])
        for stream in streams:
            stream.close()
        return token

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            if not self._strangers.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=(connection,), name="frames-in", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            job_id, stream = self._greeted(connection)
        except (CloisterError, OSError) as error:
            connection.close()
            log_event(_log, "frames_refused", logging.WARNING, reason=type(error).__name__)
            return
        finally:
            self._strangers.release()
        if stream is None:
            connection.close()
            log_event(_log, "frames_refused", logging.WARNING, job_id=job_id)
            return
        try:
            for frame in stream.frames():
                self.carried.add(len(frame))
                self._on_frame(uplink_key(job_id), frame)
        except (CloisterError, OSError) as error:
            log_event(_log, "frames_disconnected", logging.WARNING, job_id=job_id, reason=type(error).__name__)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._streams.get(job_id, []).remove(stream)
            stream.close()

    def _greeted(self, connection: socket.socket) -> tuple[JobId, FrameStream | None]:
        connection.settimeout(_GREETING_SECONDS)
        job_id, token = read_greeting(connection)
        with self._lock:
            wanted = self._tokens.get(job_id)
            full = sum(map(len, self._streams.values())) >= MAX_STREAMS
            if wanted is None or full or not hmac.compare_digest(wanted, token):
                return job_id, None
            stream = FrameStream(connection)
            self._streams.setdefault(job_id, []).append(stream)
            return job_id, stream
