"""What owners and providers say of users, answers, columns, code and size is enforced by the broker."""

from typing import Any

import pytest

from common.errors import PolicyError
from common.leakage import answer_bits
from common.messages.answer_bounds import AnswerBounds
from common.messages.registration import Registered
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.signed import sign
from common.policy_rules import allowed_columns
from common.sandbox.protocol import SandboxLimits
from services.attestation.ledger import ANSWER_BITS, tally_of
from tests.fakes.broker_world import (
    ANSWER,
    MEASUREMENTS,
    PARAMSERVER,
    QUERY,
    SCHEDULE,
    TRAINER,
    BrokerWorld,
    Party,
    SealedData,
)
from tests.unit.services.attestation.test_budget import Served
from tests.unit.services.attestation.test_registration import next_policy


def update(world: BrokerWorld, data: SealedData, **changes: Any) -> None:
    policy = next_policy(world, data, world.context.dataset(data.dataset_id).policy_document, **changes)
    world.channel(data.owner).ask(world.policy_update(data, policy), Registered)


def test_a_policy_names_the_users(world: BrokerWorld) -> None:
    served = Served(world, policy={"users": (world.user.party,)})
    assert world.draw(served.enclave, world.grant(served.manifest)).answers == 64
    with pytest.raises(PolicyError, match="policy.user"):
        world.draw(served.enclave, world.grant(served.manifest, user=Party().party))


def test_a_policy_that_drops_a_user_ends_its_answers(world: BrokerWorld) -> None:
    served = Served(world)
    grant = world.grant(served.manifest)
    world.draw(served.enclave, grant)
    update(world, served.data, users=(Party().party,))
    with pytest.raises(PolicyError, match="policy.user"):
        world.draw(served.enclave, grant)


@pytest.mark.parametrize(
    ("policy", "terms", "granted", "told"),
    [
        ("scores", "scores", "scores", "scores"),
        ("label", "scores", "scores", "label"),
        ("scores", "label", "scores", "label"),
        ("scores", "scores", "label", "label"),
    ],
)
def test_answers_tell_the_weakest_of_all_terms(
    world: BrokerWorld, policy: str, terms: str, granted: str, told: str
) -> None:
    served = Served(world, policy={"detail": policy}, terms={"detail": terms})
    assert world.draw(served.enclave, world.grant(served.manifest, detail=granted)).detail == told


def test_answers_tell_the_tightest_of_all_terms_and_are_charged_for_that(world: BrokerWorld) -> None:
    policy = {"answer_bounds": AnswerBounds(top=5, queries_per_minute=60), "max_bits": 1 << 20}
    served = Served(world, policy=policy, terms={"answer_bounds": AnswerBounds(decimals=2, queries_per_minute=90)})
    grant = world.grant(served.manifest, answer_bounds=AnswerBounds(top=3, decimals=4))
    block = world.draw(served.enclave, grant)
    assert block.bounds == AnswerBounds(top=3, decimals=2, queries_per_minute=60)
    charged = world.context.state.tally(tally_of(ANSWER_BITS, served.data.dataset_id))
    assert charged == 64 * answer_bits(ANSWER, "scores", block.bounds) < 64 * answer_bits(ANSWER, "scores")


def test_a_tightened_bound_counts_from_the_next_block_on(world: BrokerWorld) -> None:
    served = Served(world)
    grant = world.grant(served.manifest)
    assert world.draw(served.enclave, grant).bounds == AnswerBounds()
    update(world, served.data, answer_bounds=AnswerBounds(top=1))
    assert world.draw(served.enclave, grant, 0).bounds == AnswerBounds(top=1)


@pytest.mark.parametrize(
    ("accepted", "newest", "given"),
    [("classes", "classes", "classes"), ("classes", "none", "none"), ("none", "classes", "none")],
)
def test_a_later_version_only_narrows_what_a_running_jobs_provider_is_told(
    world: BrokerWorld, accepted: str, newest: str, given: str
) -> None:
    data = world.register_data(refusal_report=accepted)
    job_id = world.start_job(data)
    update(world, data, refusal_report=newest)
    for role in (TRAINER, PARAMSERVER):
        terms = world.launch(role, job_id).terms
        assert (terms.refusal_report, terms.provider) == (given, world.provider.party)
        assert terms.provider_report_key == world.provider.identity.report_key.public


def test_a_model_larger_than_the_policy_allows_is_not_ordered(world: BrokerWorld) -> None:
    bundle, size = world.register_bundle(), SCHEDULE.state_class
    fitting, tight = world.register_data(max_state_class=size), world.register_data(max_state_class=size - 1)
    assert world.accept(sign(world.order(fitting, bundle), world.owner.key))
    with pytest.raises(PolicyError, match="policy.size"):
        world.accept(sign(world.order(tight, bundle), world.owner.key))


def test_a_policy_names_the_code_that_gets_keys(world: BrokerWorld) -> None:
    named = tuple(MEASUREMENTS[role] for role in ("trainer", "paramserver"))
    job_id = world.start_job(world.register_data(measurements=named))
    assert world.launch(TRAINER, job_id)
    world.finish(job_id)
    with pytest.raises(PolicyError, match="policy.measurement"):
        world.launch(QUERY, job_id)


def test_a_providers_terms_name_code_too(world: BrokerWorld) -> None:
    bundle = world.register_bundle(measurements=(MEASUREMENTS["paramserver"],))
    job_id = world.start_job(bundle=bundle)
    assert world.launch(PARAMSERVER, job_id)
    with pytest.raises(PolicyError, match="policy.provider_terms"):
        world.launch(TRAINER, job_id)


def test_trainers_are_told_the_columns_that_may_be_read(world: BrokerWorld) -> None:
    every, some = world.start_job(), world.start_job(world.register_data(columns=("image", "label")))
    assert world.launch(TRAINER, every).terms.datasets[0].columns is None
    assert world.launch(TRAINER, some).terms.datasets[0].columns == ("image", "label")


def test_members_are_told_the_tightest_bounds_of_provider_code(world: BrokerWorld) -> None:
    data = world.register_data(sandbox_bounds=SandboxBounds(memory_bytes=1 << 30, threads=32))
    job_id = world.start_job(data)
    update(world, data, sandbox_bounds=SandboxBounds(memory_bytes=2 << 30, cpu_seconds=60))
    bounds = SandboxBounds(memory_bytes=1 << 30, threads=32, cpu_seconds=60)
    assert world.launch(TRAINER, job_id).terms.sandbox_bounds == bounds
    world.finish(job_id)
    assert world.launch(QUERY, job_id).terms.sandbox_bounds == bounds
    assert SandboxLimits().within(bounds) == SandboxLimits(memory_bytes=1 << 30, cpu_seconds=60)  # never more than that


def test_columns_of_two_versions_leave_what_both_allow(world: BrokerWorld) -> None:
    versions = [world.policy_terms(world.owner, columns=columns) for columns in (("a", "b"), ("b", "c"), ("c",), ())]
    assert allowed_columns(versions[:2]) == ("b",)
    assert allowed_columns((versions[0], versions[2])) == ()
    assert allowed_columns((versions[3], versions[0])) == ("a", "b")
    assert allowed_columns((versions[3],)) is None


def test_a_later_version_never_widens_what_a_running_job_may_do(world: BrokerWorld) -> None:
    data = world.register_data(max_attempts=1, columns=("image",), measurements=tuple(MEASUREMENTS.values()))
    job_id = world.start_job(data)
    update(world, data, max_attempts=9)
    assert world.launch(TRAINER, job_id).terms.datasets[0].columns == ("image",)
    with pytest.raises(PolicyError, match="policy.attempts"):
        world.launch(TRAINER, job_id)
    assert world.launch(TRAINER, world.start_job(data)).terms.datasets[0].columns is None


def test_a_tighter_version_counts_for_running_jobs(world: BrokerWorld) -> None:
    data = world.register_data()
    job_id = world.start_job(data)
    world.launch(TRAINER, job_id)
    update(world, data, max_attempts=1)
    with pytest.raises(PolicyError, match="policy.attempts"):
        world.launch(TRAINER, job_id)
