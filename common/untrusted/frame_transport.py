"""Frames through RabbitMQ (side: host; it sees sealed frames of one size).

One exchange for the installation, one exclusive queue for each relay, bound to what it listens to:

    up/<job id>      trainers publish, the parameter server's relay listens
    down/<job id>    the parameter server publishes, all trainers of the job listen

A queue dies with its connection, is bounded (the oldest frames go first) and forgets frames after a while, so nothing
stays behind. What is published while RabbitMQ is away is lost, and never sent later in a burst: members say again what
matters. Order is kept; whatever else happens on the way, the receiving enclave judges.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

import pika
from pika.adapters.utils import io_services_utils
from pika.exceptions import AMQPError

from common.event_log import log_event
from common.identifiers import JobId
from common.untrusted.amqp_address import pika_parameters
from common.untrusted.carried import ByteCount

EXCHANGE: Final = "cloister.frames"
QUEUE_BYTES: Final = 64 << 20
QUEUE_SECONDS: Final = 20
"""Bounds of a queue: seconds of frames, not minutes."""

RECEIVE_BYTES: Final = 128 << 10
"""At a time from the socket. pika's own 4 KiB, which it lets nobody set, are 64 reads and additions for one frame."""

OUTBOX_FRAMES: Final = 4096
"""Frames on their way to RabbitMQ; more means that it does not keep up, and the oldest are lost."""

_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0
_EVENTS_SECONDS: Final = 1.0

OnFrame = Callable[[str, bytes], None]
"""Routing key and frame, on the transport's thread."""

_log = logging.getLogger("frames")


io_services_utils._AsyncTransportBase._MAX_RECV_BYTES = RECEIVE_BYTES  # noqa: SLF001


def uplink_key(job_id: JobId) -> str:
    """Where a job's trainers send."""
    return f"up/{job_id}"


def downlink_key(job_id: JobId) -> str:
    """Where a job's parameter server sends."""
    return f"down/{job_id}"


def job_of_key(key: str) -> JobId:
    """Whose frames these are. Raises `FormatError` for a key of neither kind."""
    return JobId(key.partition("/")[2])


class FrameCarrier(Protocol):
    """What carries a relay's frames; the methods may be called from any thread.

    RabbitMQ (`FrameTransport`), or one TCP connection for each trainer (`frame_hub`, `frame_line`).
    """

    carried: ByteCount
    connected: threading.Event

    def start(self) -> None:
        """Connect, and connect again whenever the connection ends."""

    def stop(self) -> None:
        """Disconnect."""

    def listen(self, key: str) -> None:
        """Take frames of this routing key from now on."""

    def forget(self, key: str) -> None:
        """Take no more of them."""

    def publish(self, key: str, frame: bytes) -> None:
        """Send a frame; without a connection it is lost."""


class FrameTransport:
    """One relay's connection. All of pika happens on one thread; the methods may be called from any."""

    def __init__(self, amqp_url: str, on_frame: OnFrame) -> None:
        self._parameters = pika_parameters(amqp_url)
        self._on_frame = on_frame
        self._keys: set[str] = set()
        self._outbox: deque[tuple[str, bytes]] = deque(maxlen=OUTBOX_FRAMES)
        self._lock = threading.Lock()
        self._connection: Any = None
        self._channel: Any = None
        self._queue = ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="frames", daemon=True)
        self.carried = ByteCount()
        self.connected = threading.Event()

    def start(self) -> None:
        """Connect, and connect again whenever the connection ends."""
        self._thread.start()

    def stop(self) -> None:
        """Disconnect; the queue goes."""
        self._stopped.set()
        self._on_thread(lambda: None)
        self._thread.join(_LONGEST_PAUSE_SECONDS)

    def listen(self, key: str) -> None:
        """Take frames of this routing key from now on, over all connections to come."""
        with self._lock:
            self._keys.add(key)
        self._on_thread(lambda: self._channel.queue_bind(self._queue, EXCHANGE, key))

    def forget(self, key: str) -> None:
        """Take no more of them."""
        with self._lock:
            self._keys.discard(key)
        self._on_thread(lambda: self._channel.queue_unbind(self._queue, EXCHANGE, key))

    def publish(self, key: str, frame: bytes) -> None:
        """Send a frame; without a connection it is lost."""
        if not self.connected.is_set():
            return
        with self._lock:
            idle = not self._outbox
            self._outbox.append((key, frame))
        if idle:
            self._on_thread(self._drain)

    def _on_thread(self, action: Callable[[], object]) -> None:
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                connection.add_callback_threadsafe(action)

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            try:
                self._serve()
            except Exception as error:  # pika's are many, and this thread must outlive them all
                log_event(_log, "frames_disconnected", logging.WARNING, reason=type(error).__name__, seconds=pause)
            if self.connected.is_set():
                pause = _FIRST_PAUSE_SECONDS
            self._disconnect()
            self._stopped.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _serve(self) -> None:
        self._connection = pika.BlockingConnection(self._parameters)
        self._channel = self._connection.channel()
        self._channel.exchange_declare(EXCHANGE, "direct", durable=False)
        arguments = {"x-max-length-bytes": QUEUE_BYTES, "x-message-ttl": QUEUE_SECONDS * 1000}
        declared = self._channel.queue_declare("", exclusive=True, auto_delete=True, arguments=arguments)
        self._queue = declared.method.queue
        with self._lock:
            keys = set(self._keys)
        for key in keys:
            self._channel.queue_bind(self._queue, EXCHANGE, key)
        self._channel.basic_consume(self._queue, self._take, auto_ack=True, exclusive=True)
        self.connected.set()
        log_event(_log, "frames_connected", count=len(keys))
        while self._connection.is_open and not self._stopped.is_set():
            self._connection.process_data_events(time_limit=_EVENTS_SECONDS)

    def _disconnect(self) -> None:
        self.connected.clear()
        connection, self._connection = self._connection, None
        with self._lock:
            self._outbox.clear()
        if connection is not None:
            with contextlib.suppress(AMQPError, OSError):
                connection.close()

    def _take(self, _channel: object, method: Any, _properties: object, body: bytes) -> None:
        self.carried.add(len(body))
        self._on_frame(method.routing_key, body)

    def _drain(self) -> None:
        while True:
            with self._lock:
                if not self._outbox:
                    return
                key, frame = self._outbox.popleft()
            self._channel.basic_publish(EXCHANGE, key, frame)
            self.carried.add(len(frame))
