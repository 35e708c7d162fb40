from typing import Any

import pytest

from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FreshnessError, PolicyError, Refusal
from common.identifiers import Digest, GrantId, JobId, ModelId, PartyKey
from common.key_retrieval import Launch
from common.leakage import answer_bits
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from services.attestation.admission import PLACEMENT_SECONDS
from tests.fakes.broker_world import ANSWER, QUERY, BrokerWorld, Party


class Served:
    """A finished model with one placed query enclave."""

    def __init__(self, world: BrokerWorld, *, policy: Any = None, terms: Any = None) -> None:
        self.data, self.bundle = world.register_data(**(policy or {})), world.register_bundle(**(terms or {}))
        self.job_id: JobId = world.start_job(self.data, self.bundle)
        self.manifest: Signed = world.finish(self.job_id)
        self.enclave: Launch = world.launch(QUERY, self.job_id)


@pytest.fixture
def served(world: BrokerWorld) -> Served:
    return Served(world)


def test_a_grant_is_drawn_to_its_last_answer(world: BrokerWorld, served: Served) -> None:
    grant = world.grant(served.manifest, answers=100)
    blocks = [world.draw(served.enclave, grant, 64) for _ in range(2)]
    assert [(one.answers, one.remaining) for one in blocks] == [(64, 36), (36, 0)]
    assert blocks[0].grant_id == GrantId.of(grant.digest)
    with pytest.raises(PolicyError, match="policy.budget"):
        world.draw(served.enclave, grant, 1)


def test_a_crash_wastes_answers_and_never_regains_them(world: BrokerWorld, served: Served) -> None:
    grant = world.grant(served.manifest, answers=100)
    world.draw(served.enclave, grant, 64)
    world.restart()
    enclave = world.launch(QUERY, served.job_id)  # the other one died with its block
    assert world.draw(enclave, grant, 64).answers == 36


def test_a_block_of_no_answers_is_a_word_that_charges_nothing(world: BrokerWorld, served: Served) -> None:
    """Also where all is drawn; and it is logged, so witnesses must have seen it."""
    grant = world.grant(served.manifest, answers=100)
    for drawn, remaining in ((64, 36), (36, 0)):
        world.draw(served.enclave, grant, drawn)
        before = world.head.size
        block = world.draw(served.enclave, grant, 0)
        assert (block.answers, block.remaining, block.detail) == (0, remaining, "scores")
        assert world.head.size == before + 1
    world.revoke(world.owner, "grant", block.grant_id)
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.draw(served.enclave, grant, 0)


@pytest.mark.parametrize(
    ("tightened", "code"),
    [
        ({"answers_total": 64}, None),
        ({"answers_total": 63}, "policy.budget"),
        ({"max_bits": 64 * answer_bits(ANSWER, "scores") + 2000}, None),
        ({"max_bits": 1}, "policy.bits"),
        ({"users": (Party().party,)}, "policy.user"),
        ({"not_after": 1}, "policy.expired"),
    ],
)
def test_what_is_held_is_given_under_the_newest_terms_alone(
    world: BrokerWorld, served: Served, tightened: dict[str, Any], code: str | None
) -> None:
    grant, data = world.grant(served.manifest), served.data
    world.draw(served.enclave, grant, 64)
    terms = world.policy_terms(data.owner, policy_version=2, previous=data.policy.digest, **tightened)
    world.channel().ask(world.policy_update(data, sign(terms, data.owner.key)), Registered)
    if code is None:
        assert world.draw(served.enclave, grant, 0).answers == 0
    else:
        with pytest.raises(Refusal, match=code):
            world.draw(served.enclave, grant, 0)


def test_grants_of_one_model_share_the_owners_total(world: BrokerWorld) -> None:
    served = Served(world, policy={"answers_total": 70})
    assert world.draw(served.enclave, world.grant(served.manifest)).answers == 64
    assert world.draw(served.enclave, world.grant(served.manifest)).answers == 6
    with pytest.raises(PolicyError, match="policy.budget"):
        world.draw(served.enclave, world.grant(served.manifest))


def test_the_owners_total_counts_over_all_models_of_the_data(world: BrokerWorld) -> None:
    served = Served(world, policy={"answers_total": 70})
    world.draw(served.enclave, world.grant(served.manifest))
    other = world.start_job(served.data, served.bundle)
    manifest = world.finish(other)
    assert world.draw(world.launch(QUERY, other), world.grant(manifest)).answers == 6


def test_the_providers_total_counts_too(world: BrokerWorld) -> None:
    served = Served(world, terms={"answers_total": 10})
    block = world.draw(served.enclave, world.grant(served.manifest))
    assert (block.answers, block.remaining) == (10, 0)


def test_the_providers_total_counts_over_all_models_of_the_bundle(world: BrokerWorld) -> None:
    """Also where they learned from other owners' data; another publication's answers don't count."""
    served, second = Served(world, terms={"answers_total": 70}), Party()
    assert world.draw(served.enclave, world.grant(served.manifest)).answers == 64
    theirs = world.register_data(second)
    job_id = world.accept(sign(world.order(theirs, served.bundle), second.key), second).job_id
    manifest = world.finish(job_id)
    enclave = world.launch(QUERY, job_id)
    block = world.draw(enclave, world.grant(manifest, second))
    assert (block.answers, block.remaining) == (6, 0)
    for one, grant in ((served.enclave, world.grant(served.manifest)), (enclave, world.grant(manifest, second))):
        with pytest.raises(PolicyError, match="policy.budget"):
            world.draw(one, grant)
    other = Served(world, terms={"answers_total": 70})
    assert world.draw(other.enclave, world.grant(other.manifest)).answers == 64


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"not_after": 1}, "freshness.grant"),
        ({"broker": PartyKey("ab" * 32)}, "policy.broker"),
        ({"release": Digest("ab" * 32)}, "policy.grant"),
        ({"manifest": Digest("ab" * 32)}, "policy.grant"),
        ({"model_id": ModelId("model_" + "0" * 32)}, "policy.grant"),
    ],
)
def test_a_grant_for_something_else_is_refused(
    world: BrokerWorld, served: Served, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refusal, match=code):
        world.draw(served.enclave, world.grant(served.manifest, **changes))


def test_only_the_owners_grant(world: BrokerWorld, served: Served) -> None:
    for stranger in (Party(), world.provider, world.user):
        with pytest.raises(AuthenticityError, match="authenticity.signature"):
            world.draw(served.enclave, world.grant(served.manifest, stranger))


def test_the_provider_is_no_user_unless_the_owner_says_so(world: BrokerWorld, served: Served) -> None:
    with pytest.raises(PolicyError, match="policy.grant"):
        world.draw(served.enclave, world.grant(served.manifest, user=world.provider.party))
    allowed = Served(world, policy={"grants_to_provider": True})
    assert world.draw(allowed.enclave, world.grant(allowed.manifest, user=world.provider.party)).answers == 64


def test_the_providers_terms_name_the_users(world: BrokerWorld) -> None:
    served = Served(world, terms={"users": (world.user.party,)})
    assert world.draw(served.enclave, world.grant(served.manifest)).answers == 64
    with pytest.raises(PolicyError, match="policy.provider_terms"):
        world.draw(served.enclave, world.grant(served.manifest, user=Party().party))


def test_only_a_launch_that_is_placed_now_draws(world: BrokerWorld, served: Served) -> None:
    grant = world.grant(served.manifest)
    with pytest.raises(FreshnessError, match="freshness.placement"):
        world.draw(served.enclave, grant, signer=SigningKey.generate())
    world.time += PLACEMENT_SECONDS + 1
    with pytest.raises(FreshnessError, match="freshness.placement"):
        world.draw(served.enclave, grant)


def test_older_placements_stay_valid(world: BrokerWorld, served: Served) -> None:
    world.launch(QUERY, served.job_id)
    assert world.draw(served.enclave, world.grant(served.manifest)).answers == 64


def test_expired_terms_stop_answers(world: BrokerWorld) -> None:
    served = Served(world, policy={"not_after": world.time + 10})
    grant = world.grant(served.manifest)
    world.time += 11
    with pytest.raises(Refusal, match=r"freshness.placement|policy.expired"):
        world.draw(served.enclave, grant)


def test_a_model_of_two_owners_wants_both_grants(world: BrokerWorld) -> None:
    second, bundle = Party(), world.register_bundle()
    datasets = [world.register_data(), world.register_data(second, answers_total=5)]
    order = sign(world.order(datasets, bundle), world.owner.key, second.key)
    job_id = world.accept(order).job_id
    manifest = world.finish(job_id)
    enclave = world.launch(QUERY, job_id)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.draw(enclave, world.grant(manifest))
    assert world.draw(enclave, world.grant(manifest, world.owner, second)).answers == 5
