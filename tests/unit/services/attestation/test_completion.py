from typing import Any

import pytest

from common.crypto.signing import SigningKey
from common.errors import AppraisalError, AuthenticityError, ConflictError, FormatError, PolicyError
from common.identifiers import Digest, JobId, ModelId, MrEnclave
from common.messages.jobs import Completed, CompleteJob, ListMembers, Members
from common.messages.objects import SlotRecord
from common.messages.signed import sign
from tests.fakes.broker_world import MEASUREMENTS, PARAMSERVER, TRAINER, BrokerWorld


@pytest.fixture
def job_id(world: BrokerWorld) -> JobId:
    return world.start_job()


def complete(world: BrokerWorld, body: CompleteJob) -> Completed:
    return world.channel().ask(body, Completed)


def state(world: BrokerWorld, job_id: JobId) -> str:
    return world.channel().ask(ListMembers(job_id=job_id), Members).state


@pytest.mark.parametrize("outcome", ["finished", "failed"])
def test_the_live_parameter_server_ends_the_job(world: BrokerWorld, job_id: JobId, outcome: str) -> None:
    server = world.launch(PARAMSERVER, job_id)
    body = world.completion(server, outcome)
    done = complete(world, body)
    expected = None if outcome == "failed" else ModelId.of(server.terms.order.digest)
    assert done == Completed(job_id=job_id, model_id=expected)
    assert state(world, job_id) == outcome
    world.restart()
    assert complete(world, body) == done  # the answer got lost: the same word again
    assert state(world, job_id) == outcome


def test_a_second_and_other_word_is_a_conflict(world: BrokerWorld, job_id: JobId) -> None:
    server = world.launch(PARAMSERVER, job_id)
    complete(world, world.completion(server))
    with pytest.raises(ConflictError, match="conflict.job_state"):
        complete(world, world.completion(server, "failed"))


def test_a_fenced_attempt_ends_nothing(world: BrokerWorld, job_id: JobId) -> None:
    fenced = world.launch(PARAMSERVER, job_id)
    world.launch(PARAMSERVER, job_id)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        complete(world, world.completion(fenced))
    assert state(world, job_id) == "running"


def test_a_trainer_ends_nothing(world: BrokerWorld, job_id: JobId) -> None:
    trainer = world.launch(TRAINER, job_id)
    with pytest.raises(ConflictError, match="conflict.job_state"):
        complete(world, world.completion(trainer))
    world.launch(PARAMSERVER, job_id)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        complete(world, world.completion(trainer))


def test_a_manifest_signed_by_another_key_is_refused(world: BrokerWorld, job_id: JobId) -> None:
    server = world.launch(PARAMSERVER, job_id)
    forged = sign(world.manifest(server), SigningKey.generate())
    body = CompleteJob(
        job_id=job_id, outcome="finished", manifest=forged,
        statement=server.state_completion("finished", forged.digest),
    )  # fmt: skip
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        complete(world, body)


@pytest.mark.parametrize(
    "changes",
    [
        {"order": Digest("ab" * 32)},
        {"bundle_root": Digest("ab" * 32)},
        {"data_roots": ()},
        {"trust_level": "sgx"},
        {"model_id": "model_" + "0" * 32},
        {"job_id": "job_" + "0" * 32},
    ],
)
def test_a_manifest_of_something_else_is_refused(world: BrokerWorld, job_id: JobId, changes: dict[str, Any]) -> None:
    server = world.launch(PARAMSERVER, job_id)
    with pytest.raises(AppraisalError, match="appraisal.manifest"):
        complete(world, world.completion(server, **changes))
    assert state(world, job_id) == "running"


def test_its_members_were_admitted_here(world: BrokerWorld, job_id: JobId) -> None:
    world.launch(TRAINER, job_id, 0)
    server = world.launch(PARAMSERVER, job_id)
    known = SlotRecord(role="trainer", slot=0, attempt=1, mr_enclave=MEASUREMENTS["trainer"])
    for changes in ({"slot": 1}, {"attempt": 2}, {"attempt": 0}, {"mr_enclave": MrEnclave("ab" * 32)}):
        unknown = known.model_copy(update=changes)
        with pytest.raises(AppraisalError, match="appraisal.manifest"):
            complete(world, world.completion(server, members=(known, unknown)))
    assert complete(world, world.completion(server, members=(known,))).model_id is not None


def test_a_failed_job_has_no_model(world: BrokerWorld, job_id: JobId) -> None:
    server = world.launch(PARAMSERVER, job_id)
    finished = world.completion(server)
    assert finished.manifest is not None
    claim = finished.model_copy(
        update={"outcome": "failed", "statement": server.state_completion("failed", finished.manifest.digest)}
    )
    with pytest.raises(FormatError, match="format.message"):
        complete(world, claim)


def test_the_job_key_ends_with_the_job(world: BrokerWorld, job_id: JobId) -> None:
    world.finish(job_id)
    job = world.context.job(job_id)
    assert set(world.context.keys_of(job)) == {"model"}
    other = world.start_job()
    complete(world, world.completion(world.launch(PARAMSERVER, other), "failed"))
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.context.keys_of(world.context.job(other))
