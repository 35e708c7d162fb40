"""What the broker remembers of a job's checkpoints, and whom it tells."""

from typing import Any

import pytest

from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, ConflictError, FreshnessError, Refusal
from common.identifiers import JobId
from common.key_retrieval import Launch
from common.messages.checkpoint import Checkpoint, CheckpointKept, KeepCheckpoint
from common.messages.jobs import Completed
from common.messages.objects import ObjectRef
from common.messages.signed import sign
from tests.fakes.broker_world import PARAMSERVER, QUERY, SCHEDULE, TRAINER, BrokerWorld

EVERY = 4
OBJECT = ObjectRef(root=sha256(b"sealed"), chunk_count=2)


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    order = world.order(world.register_data(), world.register_bundle())
    schedule = SCHEDULE.model_copy(update={"checkpoint_ticks": EVERY})
    return world.accept(sign(order.model_copy(update={"schedule": schedule}), world.owner.key)).job_id


def word(server: Launch, tick: int, **changes: Any) -> KeepCheckpoint:
    fields: dict[str, Any] = {"attempt": server.attempt, "tick": tick, "object": OBJECT}
    checkpoint = Checkpoint(**(fields | changes))
    return KeepCheckpoint(
        job_id=server.terms.job_id, checkpoint=checkpoint, statement=server.state_checkpoint(checkpoint)
    )


def keep(world: BrokerWorld, body: KeepCheckpoint) -> CheckpointKept:
    return world.channel().ask(body, CheckpointKept)


def test_the_next_launch_goes_on_from_the_newest(world: BrokerWorld, job_id: JobId) -> None:
    first = world.launch(PARAMSERVER, job_id)
    assert first.terms.checkpoint is None
    for tick in (EVERY, 2 * EVERY):
        assert keep(world, word(first, tick)) == CheckpointKept(job_id=job_id)
    world.restart()
    second = world.launch(PARAMSERVER, job_id)
    assert second.terms.checkpoint == Checkpoint(attempt=1, tick=2 * EVERY, object=OBJECT)
    assert world.launch(TRAINER, job_id).terms.checkpoint is None


def test_the_same_word_again_is_answered_again_and_logged_once(world: BrokerWorld, job_id: JobId) -> None:
    server = world.launch(PARAMSERVER, job_id)
    keep(world, word(server, EVERY))
    size = world.head.size
    keep(world, word(server, EVERY))
    assert world.head.size == size


@pytest.mark.parametrize("tick", [0, EVERY - 1, EVERY, SCHEDULE.total_ticks, EVERY * 1000])
def test_an_older_one_or_none_of_the_schedule_is_refused(world: BrokerWorld, job_id: JobId, tick: int) -> None:
    server = world.launch(PARAMSERVER, job_id)
    keep(world, word(server, EVERY))
    other = ObjectRef(root=sha256(b"another"), chunk_count=2)
    with pytest.raises(FreshnessError, match=r"freshness\.checkpoint"):
        keep(world, word(server, tick, object=other))
    assert world.context.job(job_id).checkpoint == word(server, EVERY).checkpoint


def test_a_fenced_launch_keeps_nothing(world: BrokerWorld, job_id: JobId) -> None:
    fenced = world.launch(PARAMSERVER, job_id)
    server = world.launch(PARAMSERVER, job_id)
    with pytest.raises(FreshnessError, match=r"freshness\.attempt"):
        keep(world, word(fenced, EVERY))
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        keep(world, word(fenced, EVERY, attempt=server.attempt))
    keep(world, word(server, EVERY))


def test_a_trainer_and_a_stranger_keep_nothing(world: BrokerWorld, job_id: JobId) -> None:
    trainer = world.launch(TRAINER, job_id)
    with pytest.raises(ConflictError, match=r"conflict\.job_state"):
        keep(world, word(trainer, EVERY))
    server = world.launch(PARAMSERVER, job_id)
    forged = word(server, EVERY)
    for statement in (trainer.state_checkpoint(forged.checkpoint), SigningKey.generate().sign(b"x", b"y")):
        with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
            keep(world, forged.model_copy(update={"statement": statement}))


@pytest.mark.parametrize("changes", [{"tick": 2 * EVERY}, {"object": ObjectRef(root=OBJECT.root, chunk_count=1)}])
def test_every_part_of_it_is_signed(world: BrokerWorld, job_id: JobId, changes: dict[str, Any]) -> None:
    body = word(world.launch(PARAMSERVER, job_id), EVERY)
    changed = body.model_copy(update={"checkpoint": body.checkpoint.model_copy(update=changes)})
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        keep(world, changed)


def test_a_job_that_is_over_has_none(world: BrokerWorld, job_id: JobId) -> None:
    server = world.launch(PARAMSERVER, job_id)
    keep(world, word(server, EVERY))
    world.channel().ask(world.completion(server), Completed)
    assert world.context.job(job_id).checkpoint is None
    assert world.launch(QUERY, job_id).terms.checkpoint is None
    with pytest.raises(ConflictError, match=r"conflict\.job_state"):
        keep(world, word(server, 2 * EVERY))


def test_a_schedule_without_checkpoints_keeps_none(world: BrokerWorld) -> None:
    server = world.launch(PARAMSERVER, world.start_job())
    for tick in range(SCHEDULE.total_ticks):
        with pytest.raises(Refusal, match=r"freshness\.checkpoint"):
            keep(world, word(server, tick))
