"""The host's side of the parameter server's enclave: its door, RabbitMQ, object store and job board (side: host).

One enclave serves many jobs and lives as long as the worker; when it dies, its jobs are given back and another is
launched. The relay sees sealed frames and reports, ciphertext, signed manifests, and public outcomes.
"""

import contextlib
import logging
import threading
import time
from typing import Final

from common.errors import CloisterError, PeerClosedError, Refusal, UnavailableError
from common.event_log import log_event
from common.identifiers import JobId
from common.messages.objects import ModelManifest
from common.messages.order import TrainingOrder
from common.messages.signed import Signed
from common.messages.training_door import (
    JobEnded,
    OpenJob,
    SealedReport,
    encode_job_frame,
    parse_checkpoint,
    parse_job_frame,
)
from common.untrusted.blobs import BlobStore
from common.untrusted.carried import Carried
from common.untrusted.frame_hub import FrameHub
from common.untrusted.frame_transport import FrameCarrier, FrameTransport, OnFrame, downlink_key, uplink_key
from common.untrusted.job_board import JobBoard
from common.untrusted.metrics import FRAMES, TICKS
from common.untrusted.relay import EnclaveRelay, common_handlers
from common.untrusted.tick_watch import TickWatch
from services.paramserver.settings import ParamserverSettings

_log = logging.getLogger("paramserver.relay")

_CALL_SECONDS: Final = 180.0
"""An enclave's start on a busy machine, with its measurement."""

_WORKERS: Final = 8
"""Requests of the enclave that are answered at once. Beside them each of its jobs waits for its end."""

_CLOSE_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0


class OpenedJob:
    """One job in one launch of the enclave, as the slot keeper sees it (`Holder`)."""

    def __init__(self, relay: "ParamserverRelay", enclave: EnclaveRelay, job_id: JobId, order: Signed) -> None:
        self._relay, self._enclave, self._job_id = relay, enclave, job_id
        self._ticks = TickWatch(TrainingOrder.decode(order.payload).schedule)
        self._over = threading.Event()
        self._end: JobEnded | None = None

    def count_frame(self) -> None:
        """One left the enclave, now."""
        FRAMES.labels("down").inc()
        for moment, count in self._ticks.frame(time.monotonic()).items():
            TICKS.labels(moment).inc(count)

    def end(self, end: JobEnded) -> None:
        """The enclave's last word about it."""
        self._end = end
        self._over.set()

    def ended(self) -> bool:
        """Whether there was a last word, or the enclave is gone."""
        return self._over.is_set() or not self._enclave.alive

    def crashed(self) -> bool:
        """Whether another launch must take the job."""
        self._relay.forget(self._job_id)
        return self._end is None or not self._end.completed

    def code(self) -> str | None:
        """Why this launch gave up."""
        return None if self._end is None else self._end.code

    def stop(self) -> None:
        """Let the enclave give the job up."""
        with contextlib.suppress(CloisterError, TimeoutError):
            self._enclave.call("close_job", self._job_id.encode("ascii"), seconds=_CLOSE_SECONDS)
            self._over.wait(_CLOSE_SECONDS)
        self._relay.forget(self._job_id)


def _carrier(settings: ParamserverSettings, board: JobBoard, take: OnFrame) -> FrameCarrier:
    if settings.frames == "rabbitmq":
        return FrameTransport(settings.amqp_url, take)
    return FrameHub((settings.frames_host, settings.frames_port), board, take, settings.frames_advertised)


class ParamserverRelay:
    """The enclave of this worker, launched anew whenever it is gone."""

    def __init__(self, settings: ParamserverSettings, board: JobBoard) -> None:
        self._settings, self._board = settings, board
        broker, self._store = settings.broker(), BlobStore(settings.object_directory)
        self._handlers = common_handlers(self._store, broker) | {
            "frame": self._publish, "report": self._keep_report, "checkpoint": self._keep_checkpoint,
            "job_ended": self._take_end}  # fmt: skip
        self._transport = _carrier(settings, board, self._take)
        self._jobs: dict[JobId, OpenedJob] = {}
        self._enclave: EnclaveRelay | None = None
        self._lock, self._stopped, self._gone = threading.Lock(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep_alive, name="paramserver-enclave", daemon=True)

    def start(self) -> None:
        """Connect and launch; an enclave that ends is replaced, here and later, until `stop`."""
        self._transport.start()
        self._thread.start()

    def stop(self) -> None:
        """End the enclave and disconnect."""
        self._stopped.set()
        self._gone.set()
        with self._lock:
            if self._enclave is not None:
                self._enclave.stop()
        self._transport.stop()

    def is_alive(self) -> bool:
        """Whether the enclave answers."""
        return self._enclave is not None and self._enclave.alive

    def is_connected(self) -> bool:
        """Whether frames can travel."""
        return self._transport.connected.is_set()

    @property
    def carried(self) -> Carried:
        """Frames that went from here or came here, which are all of its jobs, and leaves of models."""
        return {self._settings.frames: self._transport.carried, "object_store": self._store.written}

    def open(self, job_id: JobId) -> OpenedJob:
        """Open a job in the enclave. Raises its refusal, `PeerClosedError`, `TimeoutError` or what a launch raises."""
        opened = OpenJob(job_id=job_id, order=Signed.decode(self._board.order(job_id)))
        enclave = self._living_enclave()
        job = self._jobs[job_id] = OpenedJob(self, enclave, job_id, opened.order)
        self._transport.listen(uplink_key(job_id))
        try:
            enclave.call("open_job", opened.encode(), seconds=_CALL_SECONDS)
        except BaseException:
            self.forget(job_id)
            raise
        return job

    def forget(self, job_id: JobId) -> None:
        """Nothing more of this job is carried."""
        self._jobs.pop(job_id, None)
        self._transport.forget(uplink_key(job_id))

    def _living_enclave(self) -> EnclaveRelay:
        with self._lock:
            if self._enclave is None or not self._enclave.alive:
                enclave = EnclaveRelay(
                    "paramserver",
                    self._settings.launcher,
                    self._handlers,
                    on_exit=self._gone.set,
                    workers=_WORKERS + self._settings.capacity,
                )
                enclave.call("status", b"", seconds=_CALL_SECONDS)
                self._enclave = enclave
            return self._enclave

    def _keep_alive(self) -> None:
        """Launch, wait until the enclave is gone, launch again."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._stopped.is_set():
            self._gone.clear()
            try:
                self._living_enclave()
            except (CloisterError, TimeoutError, OSError) as error:
                log_event(_log, "launch_failed", logging.WARNING, reason=type(error).__name__, seconds=pause)
                self._stopped.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                pause = _FIRST_PAUSE_SECONDS
                self._gone.wait()

    def _take(self, key: str, frame: bytes) -> None:
        FRAMES.labels("up").inc()
        enclave = self._enclave
        if enclave is not None and enclave.alive:
            with contextlib.suppress(PeerClosedError):
                enclave.notify("frame", encode_job_frame(JobId(key.removeprefix("up/")), frame))

    def _publish(self, body: bytes) -> bytes:
        job_id, frame = parse_job_frame(body)
        if (job := self._jobs.get(job_id)) is not None:
            job.count_frame()
        self._transport.publish(downlink_key(job_id), frame)
        return b""

    def _keep_report(self, body: bytes) -> bytes:
        report = SealedReport.decode(body)
        try:
            self._board.add_report(report.job_id, report.owner, report.sequence, report.sealed)
        except Refusal as refusal:
            log_event(_log, "report_lost", logging.WARNING, job_id=report.job_id, code=refusal.code)
        return b""

    def _keep_checkpoint(self, body: bytes) -> bytes:
        """This one is the job's checkpoint from now on; the one before is deleted."""
        job_id, root = parse_checkpoint(body)
        try:
            before = self._board.keep_checkpoint(job_id, root)
            if before is not None and before != root:
                self._store.delete(before)
        except Refusal as refusal:
            log_event(_log, "checkpoint_not_booked", logging.WARNING, job_id=job_id, code=refusal.code)
        return b""

    def _take_end(self, body: bytes) -> bytes:
        """Book the end before the slot is given back. Raises `UnavailableError`: the enclave says it again."""
        end = JobEnded.decode(body)
        if end.completed:
            self._finish(end)
        job = self._jobs.get(end.job_id)
        if job is not None:
            job.end(end)
        return b""

    def _finish(self, end: JobEnded) -> None:
        model = None
        if end.manifest is not None and end.model_id is not None:
            root = ModelManifest.decode(end.manifest.payload).object.root
            model = (end.model_id, end.manifest.encode(), root)
        try:
            if end.provider is not None and end.provider_report is not None:
                self._board.keep_provider_report(end.job_id, end.provider, end.provider_report)
            self._board.finish(end.job_id, end.outcome, code=end.code, model=model)
            checkpoint = self._board.forget_checkpoint(end.job_id)
            if checkpoint is not None:
                self._store.delete(checkpoint)
        except UnavailableError:
            raise
        except Refusal as refusal:
            log_event(_log, "end_not_booked", logging.WARNING, job_id=end.job_id, code=refusal.code)
