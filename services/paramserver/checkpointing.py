"""Checkpoints of one launch: sealed, stored, and told to the broker, beside the clock (side: enclave).

Holds: a key for each checkpoint, derived from the job key.  Reads: the newest one.  Sends: ciphertext of one size.

After every `checkpoint_ticks` of the order's schedule one is begun, whatever the job has learned by then. It is done on
a thread of its own; one that is due while another is under way is left out, which hangs on the store and the broker
alone. A checkpoint counts once the broker remembers its root: a host can lose it, and replace it by no other.
"""

import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Final

from common.broker_channel import BrokerChannel
from common.crypto.keys import SecretKey
from common.crypto.labels import CHECKPOINT_KEY
from common.door_objects import DoorObjects
from common.errors import AppraisalError, Refusal
from common.identifiers import Digest
from common.key_retrieval import Launch
from common.messages.checkpoint import Checkpoint, CheckpointKept, KeepCheckpoint
from common.sealed_object import ObjectKind, seal_object
from services.paramserver.checkpoint import JobProgress, decode_progress, encode_progress

_NUMBER_BYTES: Final = 8


@dataclass(frozen=True)
class CheckpointStore:
    """Stores and loads the checkpoints of one launch."""

    launch: Launch
    channel: BrokerChannel
    objects: DoorObjects

    def keep(self, progress: JobProgress) -> Digest:
        """Seal it, store it, tell the broker; the root of the object. Raises a `Refusal` or `TimeoutError`."""
        launch, schedule, trainers = self.launch, self.launch.order.schedule, self.launch.order.trainers
        key = self._key(launch.attempt, progress.tick)
        sealed = seal_object(encode_progress(progress, schedule, trainers), key, ObjectKind.CHECKPOINT)
        stored = self.objects.store(sealed)
        checkpoint = Checkpoint(attempt=launch.attempt, tick=progress.tick, object=stored)
        kept = KeepCheckpoint(
            job_id=launch.terms.job_id, checkpoint=checkpoint, statement=launch.state_checkpoint(checkpoint)
        )
        self.channel.ask(kept, CheckpointKept)
        return stored.root

    def newest(self) -> JobProgress | None:
        """Where the launches before this one had got to, as the broker says; None at the beginning.

        Raises what `ObjectReader` raises, `NotFoundError` (not_found.object) when the host has lost it, `FormatError`
        (format.checkpoint), `AppraisalError` for one that this launch can't have.
        """
        checkpoint, order = self.launch.terms.checkpoint, self.launch.order
        if checkpoint is None:
            return None
        if checkpoint.attempt >= self.launch.attempt or not order.schedule.has_checkpoint(checkpoint.tick):
            raise AppraisalError("appraisal.binding", expected="a checkpoint of an earlier launch", seen=checkpoint)
        key = self._key(checkpoint.attempt, checkpoint.tick)
        payload = self.objects.load(checkpoint.object, key, ObjectKind.CHECKPOINT)
        progress = decode_progress(payload, order.schedule, order.trainers)
        if progress.tick != checkpoint.tick:
            raise AppraisalError("appraisal.binding", expected=checkpoint.tick, seen=progress.tick)
        return progress

    def _key(self, attempt: int, tick: int) -> SecretKey:
        numbers = (number.to_bytes(_NUMBER_BYTES, "big") for number in (attempt, tick))
        return self.launch.keys["job"].derive(CHECKPOINT_KEY, self.launch.terms.order.digest.raw(), *numbers)


class Checkpointing:
    """Keeps one checkpoint after the other on `executor`, which has one thread. `kept` hears of each root."""

    def __init__(self, store: CheckpointStore, executor: Executor, kept: Callable[[Digest], None]) -> None:
        self._store, self._executor, self._kept = store, executor, kept
        self._work: Future[None] | None = None

    def begin(self, progress: JobProgress) -> None:
        """Keep this one, unless another is under way."""
        if self._work is None or self._work.done():
            self._work = self._executor.submit(self._keep, progress)

    def _keep(self, progress: JobProgress) -> None:
        with contextlib.suppress(Refusal, TimeoutError):  # store or broker are away: the next one will do
            self._kept(self._store.keep(progress))
