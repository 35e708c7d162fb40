"""Frames straight between relays, a trainer's end: a line to where its job's parameter server is now (side: host).

It looks on the job board where that is, connects, and looks again when the connection ends: a parameter server that was
launched anew may be elsewhere. What is published meanwhile is lost, as with RabbitMQ.
"""

import logging
import socket
import threading
from typing import Final

from common.errors import CloisterError
from common.event_log import log_event
from common.untrusted.carried import ByteCount
from common.untrusted.frame_stream import FrameStream, send_greeting
from common.untrusted.frame_transport import OnFrame, job_of_key
from common.untrusted.job_board import JobBoard

_CONNECT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.2

_log = logging.getLogger("frames")


class FrameLine:
    """The line of one slot. It takes and gives frames as `FrameTransport` does, of one job."""

    def __init__(self, board: JobBoard, on_frame: OnFrame) -> None:
        self._board, self._on_frame, self._key = board, on_frame, ""
        self._stream: FrameStream | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="frame-line", daemon=True)
        self.carried, self.connected = ByteCount(), threading.Event()

    def start(self) -> None:
        """Connect, and connect again whenever the connection ends."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect."""
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.close()
        self._thread.join(_CONNECT_SECONDS)

    def listen(self, key: str) -> None:
        """Of which job. Before `start`."""
        self._key = key

    def forget(self, key: str) -> None:
        """Take no more of them."""
        if key == self._key:
            self._stopped.set()

    def publish(self, _key: str, frame: bytes) -> None:
        """Send a frame; without a connection it is lost."""
        stream = self._stream
        if stream is not None:
            stream.send(frame)
            self.carried.add(len(frame))

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._serve()
            except (CloisterError, OSError) as error:
                log_event(_log, "frames_disconnected", logging.WARNING, reason=type(error).__name__)
            stream, self._stream = self._stream, None
            self.connected.clear()
            if stream is not None:
                stream.close()
            self._stopped.wait(_LOOK_SECONDS)

    def _serve(self) -> None:
        job_id = job_of_key(self._key)
        route = self._board.frame_route(job_id)
        if route is None:
            return
        connection = socket.create_connection((route.host, route.port), timeout=_CONNECT_SECONDS)
        send_greeting(connection, job_id, route.token)
        stream = self._stream = FrameStream(connection)
        self.connected.set()
        for frame in stream.frames():
            self.carried.add(len(frame))
            self._on_frame(self._key, frame)
