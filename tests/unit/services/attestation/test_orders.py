from typing import Any

import pytest

from common.crypto.signing import SigningKey
from common.crypto.wrapping import wrap
from common.errors import AppraisalError, AuthenticityError, FreshnessError, NotFoundError, PolicyError, Refusal
from common.identifiers import Digest, PartyKey
from common.key_binding import order_secret_info
from common.messages.order import OrderSecret, SandboxName
from common.messages.signed import sign
from services.attestation.records import JobRecord
from tests.fakes.broker_world import MEASUREMENTS, SCHEDULE, BrokerWorld, Party, SealedBundle, SealedData


@pytest.fixture
def data(world: BrokerWorld) -> SealedData:
    return world.register_data()


@pytest.fixture
def bundle(world: BrokerWorld) -> SealedBundle:
    return world.register_bundle()


def jobs(world: BrokerWorld) -> int:
    return len(list(world.context.state.all(JobRecord)))


def test_an_accepted_order_again_gives_the_same_answer(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    order = sign(world.order(data, bundle), world.owner.key)
    first = world.accept(order)
    world.time += 10**6  # long over: what was accepted stays accepted
    assert world.accept(order) == first
    assert (first.trainers, first.trust_level, jobs(world)) == (2, "simulation", 1)


@pytest.mark.parametrize(("runs_in", "ordered"), [("native", "wasm"), ("wasm", "native")])
def test_an_order_names_the_sandbox_that_the_bundle_runs_in(
    world: BrokerWorld, runs_in: SandboxName, ordered: SandboxName
) -> None:
    data, bundle = world.register_data(sandboxes=("native", "wasm")), world.register_bundle(sandbox=runs_in)
    with pytest.raises(PolicyError, match=r"policy\.bundle"):
        world.accept(sign(world.order(data, bundle, sandbox=ordered), world.owner.key))
    world.accept(sign(world.order(data, bundle, sandbox=runs_in), world.owner.key))


def test_another_order_with_a_used_nonce_is_refused(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    nonce = bytes(range(16))
    world.accept(sign(world.order(data, bundle, nonce=nonce), world.owner.key))
    with pytest.raises(FreshnessError, match="freshness.order"):
        world.accept(sign(world.order(data, bundle, nonce=nonce, trainers=1), world.owner.key))
    assert jobs(world) == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"not_after": 1}, "freshness.order"),
        ({"broker": SigningKey.generate().party}, "policy.broker"),
        ({"release": Digest("77" * 32)}, "appraisal.release"),
        ({"trainers": 9}, "policy.slots"),
        ({"sandbox": "wasm"}, "policy.sandbox"),
        ({"schedule": SCHEDULE.model_copy(update={"state_class": 8192})}, "policy.bundle"),
        ({"parent_model": Digest("77" * 32)}, "policy.purpose"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(Refusal, match=code):
        world.accept(sign(world.order(data, bundle, **changes), world.owner.key))
    assert jobs(world) == 0


def test_an_order_for_an_unknown_data_set_or_bundle_is_refused(world: BrokerWorld, data: SealedData) -> None:
    with pytest.raises(NotFoundError, match="not_found.bundle"):
        world.accept(sign(world.order(data, world.seal_bundle()), world.owner.key))
    with pytest.raises(NotFoundError, match="not_found.dataset"):
        world.accept(sign(world.order(world.seal_data(), world.register_bundle()), world.owner.key))


def test_only_the_owners_of_the_data_order(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    stranger = Party()
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.accept(sign(world.order(data, bundle), stranger.key))
    both = world.order(data, bundle, owners=(world.owner.party, stranger.party))
    with pytest.raises(PolicyError, match="policy.signer"):
        world.accept(sign(both, world.owner.key, stranger.key))


def test_an_order_over_two_owners_data_needs_both(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    second = Party()
    order = world.order([data, world.register_data(second)], bundle)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.accept(sign(order, world.owner.key))
    assert world.accept(sign(order, world.owner.key, second.key)).trainers == 2


def test_each_owner_reads_only_its_own_reason(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    second = Party()
    order = sign(world.order([data, world.register_data(second, max_trainers=1)], bundle), world.owner.key, second.key)
    with pytest.raises(PolicyError, match="policy.slots") as theirs:
        world.accept(order, second)
    assert theirs.value.expected == "1 to 1 trainers"
    with pytest.raises(PolicyError, match="policy.slots") as ours:
        world.accept(order, world.owner)
    assert ours.value.expected is None


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"providers": ()}, "policy.provider"),
        ({"providers": (PartyKey("ab" * 32),)}, "policy.provider"),
        ({"bundles": (Digest("ab" * 32),)}, "policy.bundle"),
        ({"releases": ()}, "policy.release"),
        ({"purposes": ("refining",)}, "policy.purpose"),
        ({"sandboxes": ()}, "policy.sandbox"),
        ({"min_trainers": 3}, "policy.slots"),
        ({"max_jobs": 0}, "policy.jobs"),
        ({"not_after": 1}, "policy.expired"),
    ],
)
def test_what_the_policy_does_not_name_is_refused(
    world: BrokerWorld, bundle: SealedBundle, policy: dict[str, Any], code: str
) -> None:
    data = world.register_data(**policy)
    with pytest.raises(PolicyError, match=code) as refusal:
        world.accept(sign(world.order(data, bundle), world.owner.key))
    assert refusal.value.expected is not None
    assert jobs(world) == 0


@pytest.mark.parametrize("terms", [{"owners": (PartyKey("ab" * 32),)}, {"releases": ()}, {"not_after": 1}])
def test_what_the_providers_terms_do_not_allow_is_refused(
    world: BrokerWorld, data: SealedData, terms: dict[str, Any]
) -> None:
    order = sign(world.order(data, world.register_bundle(**terms)), world.owner.key)
    with pytest.raises(PolicyError, match="policy.provider_terms") as owners:
        world.accept(order, world.owner)
    assert owners.value.expected is None
    with pytest.raises(PolicyError, match="policy.provider_terms") as providers:
        world.accept(order, world.provider)
    assert providers.value.expected is not None


def test_the_bundle_root_may_be_named(world: BrokerWorld, bundle: SealedBundle) -> None:
    data = world.register_data(bundles=(bundle.root,))
    assert world.accept(sign(world.order(data, bundle), world.owner.key)).trainers == 2


def test_jobs_are_counted_over_restarts(world: BrokerWorld, bundle: SealedBundle) -> None:
    data = world.register_data(max_jobs=2)
    for _ in range(2):
        world.accept(sign(world.order(data, bundle), world.owner.key))
        world.restart()
    with pytest.raises(PolicyError, match="policy.jobs"):
        world.accept(sign(world.order(data, bundle), world.owner.key))


def test_a_release_must_be_signed_and_name_this_broker(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    forged = world.sign_release(MEASUREMENTS, SigningKey.generate())
    with pytest.raises(AppraisalError, match="appraisal.release"):
        world.accept(sign(world.order(data, bundle), world.owner.key), release=forged)
    elsewhere = world.sign_release(MEASUREMENTS | {"broker": MEASUREMENTS["query"]}, tag="2")
    named = world.register_data(releases=(elsewhere.digest,))
    order = sign(world.order(named, world.register_bundle(), release=elsewhere.digest), world.owner.key)
    with pytest.raises(AppraisalError, match="appraisal.release"):
        world.accept(order, release=elsewhere)


def test_a_secret_for_another_order_does_not_open(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    info = order_secret_info(bytes(16), world.owner.party, world.genesis.signing_public)
    secret = wrap(OrderSecret(learning_seed=bytes(32)).encode(), world.genesis.wrapping_public, info)
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        world.accept(sign(world.order(data, bundle, secret=secret, nonce=bytes(range(16))), world.owner.key))


def test_each_data_set_once(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    with pytest.raises(Refusal, match="format.message"):
        world.accept(sign(world.order([data, data], bundle), world.owner.key))


def test_a_report_key_to_which_nothing_can_be_sealed_changes_no_answer(
    world: BrokerWorld, bundle: SealedBundle
) -> None:
    """Of low order: it parses, and fails when it is used. Every answer of the broker is signed all the same."""
    data = world.register_data(report_key=world.owner.report_key[:-32] + bytes(32), max_jobs=0)
    with pytest.raises(PolicyError, match="policy.jobs"):
        world.accept(sign(world.order(data, bundle), world.owner.key))
