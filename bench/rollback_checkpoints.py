"""Older checkpoints of a job, shown to the key broker and to the launch that goes on (side: owner)."""

from pathlib import Path
from typing import Final

import numpy as np

from bench.rollback_launches import Recorder
from bench.rollback_tally import Tally
from common.door_objects import DoorObjects
from common.identifiers import Digest, JobId
from common.messages.signed import sign
from services.paramserver.checkpoint import JobProgress
from services.paramserver.checkpointing import CheckpointStore
from tests.fakes.answering import AnswersAtOnce
from tests.fakes.broker_world import PARAMSERVER, SCHEDULE, BrokerWorld
from tests.fakes.training_world import Store

KEPT_EACH: Final = 3
"""By each launch."""

KEEP: Final = b'"keep-checkpoint"'
"""In the bytes of a request that tells the broker of one."""


class _LyingStore(AnswersAtOnce):
    """The relay's end of an object store. `instead`: another object's leaves are served for this root."""

    def __init__(self) -> None:
        self.store, self.instead = Store(), dict[Digest, Digest]()

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:  # noqa: ARG002 - nothing here waits
        """`object.*`."""
        root = Digest.of(body[:32])
        return self.store.handle(name, self.instead.get(root, root).raw() + body[32:])


def checkpoints(directory: Path, length: int) -> Tally:
    """`length` launches of a parameter server keep some each and are superseded. Within a launch the broker is told its
    older ones again; then, also after a start, those of all launches. The next launch gets each older object in
    place of the newest.
    """
    world, tally, stored = BrokerWorld(directory), Tally(), _LyingStore()
    host, job_id = Recorder(world), _ordered(world, length)
    for number in range(length):
        own, told = _launched(host, stored, job_id), len(host.carried)
        for tick in range(number * KEPT_EACH + 1, (number + 1) * KEPT_EACH + 1):
            own.keep(_progress(tick))
        for raw in _told(host, told)[:-1]:
            tally.refuses(f"an older one of launch {number}", "freshness.checkpoint", host.again, raw)
    newest = _launched(host, stored, job_id)
    for starts in range(2):
        for number, raw in enumerate(_told(host)):
            tally.refuses(f"one of before, {number}, {starts} starts later", "freshness.attempt", host.again, raw)
        world.restart()
    *older, last = stored.store.committed
    for root in older:
        stored.instead = {last: root}
        tally.refuses("an older object", "authenticity.sealed_object", newest.newest)
    stored.instead.clear()
    progress = newest.newest()
    if progress is None or progress.tick != length * KEPT_EACH:
        raise RuntimeError("the newest was not taken")
    return tally


def _ordered(world: BrokerWorld, length: int) -> JobId:
    data = world.register_data(max_attempts=length + 2)
    schedule = SCHEDULE.model_copy(update={"checkpoint_ticks": 1, "rounds": 100})
    order = world.order(data, world.register_bundle()).model_copy(update={"schedule": schedule})
    return world.accept(sign(order, world.owner.key)).job_id


def _launched(host: Recorder, stored: _LyingStore, job_id: JobId) -> CheckpointStore:
    return CheckpointStore(host.world.launch(PARAMSERVER, job_id), host.channel(), DoorObjects(stored))


def _progress(tick: int) -> JobProgress:
    state_P = np.full(SCHEDULE.state_class, tick, np.float32)
    return JobProgress(tick=tick, rounds_done=tick, state_P=state_P, velocity_P=state_P)


def _told(host: Recorder, since: int = 0) -> list[bytes]:
    return [raw for raw, _ in host.carried[since:] if KEEP in raw]
