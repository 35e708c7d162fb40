"""The host process of one slot: an enclave's door on one side, RabbitMQ and the object store on the other (side: host).

`python -m services.trainer_enclave.relay --settings PATH --job JOB --slot N --parent PID`, started by the worker. It
sees sealed frames, chunks of ciphertext and signed broker messages. Exit status: 0 the slot's work is done; 3 refused,
with the public code on stdout; 4 the enclave ended without a word. It ends with its parent.
"""

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from common.errors import CloisterError, Refusal
from common.event_log import configure_host_logging, log_event
from common.identifiers import JobId
from common.messages.signed import Signed
from common.messages.training_door import StartTrainer, TrainerEnded
from common.untrusted.artefacts import ArtefactFolder
from common.untrusted.blobs import BlobStore
from common.untrusted.frame_line import FrameLine
from common.untrusted.frame_transport import FrameCarrier, FrameTransport, downlink_key, uplink_key
from common.untrusted.job_board import JobBoard
from common.untrusted.parent_watch import end_with
from common.untrusted.relay import EnclaveRelay, common_handlers
from services.trainer_enclave.settings import TrainerSettings

_log = logging.getLogger("trainer.relay")

EXIT_DONE: Final = 0
EXIT_REFUSED: Final = 3
EXIT_CRASHED: Final = 4

_START_SECONDS: Final = 180.0
"""An enclave's start on a busy machine, with its measurement."""


class TrainerRelay:
    """One slot of one job, until the enclave says that it is through, or is gone, or `stop` is called."""

    def __init__(self, settings: TrainerSettings, job_id: JobId, slot: int) -> None:
        self._settings, self._job_id, self._slot = settings, job_id, slot
        self._over = threading.Event()
        self._ended: TrainerEnded | None = None
        self._enclave: EnclaveRelay | None = None
        self._board = JobBoard.open(settings.database_url)
        direct = settings.frames == "direct"
        self._transport: FrameCarrier = (
            FrameLine(self._board, self._take) if direct else FrameTransport(settings.amqp_url, self._take)
        )

    def run(self) -> int:
        """The exit status."""
        order = Signed.decode(self._board.order(self._job_id))
        broker, store = self._settings.broker(), BlobStore(self._settings.object_directory)
        handlers = common_handlers(store, broker) | {"frame": self._publish, "ended": self._take_end}
        if self._settings.artefact_directory is not None:
            handlers |= ArtefactFolder(self._settings.artefact_directory).handlers()
        self._transport.listen(downlink_key(self._job_id))
        self._transport.start()
        self._enclave = EnclaveRelay("trainer", self._settings.launcher, handlers, on_exit=self._over.set)
        try:
            start = StartTrainer(job_id=self._job_id, slot=self._slot, order=order)
            self._enclave.call("start", start.encode(), seconds=_START_SECONDS)
            self._over.wait()
        finally:
            self._enclave.stop()
            self._transport.stop()
        return self._status()

    def stop(self) -> None:
        """End the enclave and let `run` return."""
        self._over.set()

    def _status(self) -> int:
        if self._ended is None:
            return EXIT_CRASHED
        if self._ended.code is None:
            return EXIT_DONE
        sys.stdout.write(self._ended.code)
        return EXIT_REFUSED

    def _take(self, _key: str, frame: bytes) -> None:
        if self._enclave is not None and self._enclave.alive:
            self._enclave.notify("frame", frame)

    def _publish(self, frame: bytes) -> bytes:
        self._transport.publish(uplink_key(self._job_id), frame)
        return b""

    def _take_end(self, body: bytes) -> bytes:
        self._ended = TrainerEnded.decode(body)
        self._over.set()
        return b""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer_enclave.relay")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--job", type=JobId, required=True)
    parser.add_argument("--slot", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    end_with(arguments.parent)
    configure_host_logging("trainer.relay")
    try:
        relay = TrainerRelay(TrainerSettings.read(arguments.settings), arguments.job, arguments.slot)
        signal.signal(signal.SIGTERM, lambda _signal, _frame: relay.stop())
        status = relay.run()
    except Refusal as refusal:
        log_event(_log, "relay_refused", logging.ERROR, job_id=arguments.job, slot=arguments.slot, code=refusal.code)
        sys.stdout.write(refusal.code)
        status = EXIT_REFUSED
    except (CloisterError, TimeoutError, OSError) as error:
        log_event(_log, "relay_failed", logging.ERROR, job_id=arguments.job, slot=arguments.slot,
                  reason=type(error).__name__)  # fmt: skip
        status = EXIT_CRASHED
    sys.exit(status)


if __name__ == "__main__":
    main()
