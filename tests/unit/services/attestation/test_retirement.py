"""A retired bundle takes no new order, and everything that was ordered goes on."""

import pytest

from common.errors import AuthenticityError, NotFoundError, PolicyError
from common.identifiers import BundleId, PartyKey
from common.messages.jobs import ListMembers, Members
from common.messages.policy import BundleRetirement
from common.messages.registration import BundleRetired, RetireBundle
from common.messages.signed import sign
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld, Party, SealedBundle, SealedData


@pytest.fixture
def data(world: BrokerWorld) -> SealedData:
    return world.register_data()


@pytest.fixture
def bundle(world: BrokerWorld) -> SealedBundle:
    return world.register_bundle()


def test_no_new_order_names_it_and_what_was_ordered_goes_on(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    running, finished = world.start_job(data, bundle), world.start_job(data, bundle)
    manifest = world.finish(finished)
    assert world.retire(bundle.provider, bundle.bundle_id).bundle_id == bundle.bundle_id
    world.restart()
    with pytest.raises(PolicyError, match="policy.retired") as refused:
        world.accept(sign(world.order(data, bundle), world.owner.key))
    assert refused.value.mender == "provider"
    world.launch(TRAINER, running)
    assert world.channel().ask(ListMembers(job_id=running), Members).state == "running"
    world.finish(running)
    assert world.draw(world.launch(QUERY, finished), world.grant(manifest)).answers == 64


def test_an_order_that_was_accepted_before_is_answered_alike(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    order = sign(world.order(data, bundle), world.owner.key)
    accepted = world.accept(order)
    world.retire(bundle.provider, bundle.bundle_id)
    assert world.accept(order) == accepted


def test_another_bundle_of_the_provider_is_ordered_as_before(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    newer = world.register_bundle()
    world.retire(bundle.provider, bundle.bundle_id)
    world.start_job(data, newer)


def test_twice_is_logged_once(world: BrokerWorld, bundle: SealedBundle) -> None:
    first = world.retire(bundle.provider, bundle.bundle_id)
    size = world.head.size
    assert world.retire(bundle.provider, bundle.bundle_id) == first
    assert world.head.size == size


def test_only_its_provider_retires_it(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    for stranger in (world.owner, Party()):
        with pytest.raises(PolicyError, match="policy.signer"):
            world.retire(stranger, bundle.bundle_id)
    fields = {
        "nonce": bytes(16), "party": bundle.provider.party, "bundle": bundle.bundle_id,
        "broker": world.genesis.signing_public, "created": world.time,
    }  # fmt: skip
    forged = sign(BundleRetirement.model_validate(fields), Party().key)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.channel().ask(RetireBundle(retirement=forged), BundleRetired)
    with pytest.raises(PolicyError, match="policy.broker"):
        world.retire(bundle.provider, bundle.bundle_id, broker=PartyKey("ab" * 32))
    with pytest.raises(NotFoundError, match="not_found.bundle"):
        world.retire(bundle.provider, BundleId("bundle_" + "0" * 32))
    world.start_job(data, bundle)


def test_what_was_revoked_is_not_retired_any_more(world: BrokerWorld, bundle: SealedBundle) -> None:
    world.revoke(bundle.provider, "bundle", bundle.bundle_id)
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.retire(bundle.provider, bundle.bundle_id)
