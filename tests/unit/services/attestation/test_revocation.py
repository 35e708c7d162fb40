import pytest

from common.errors import AuthenticityError, ConflictError, FormatError, NotFoundError, PolicyError
from common.identifiers import GrantId, JobId, PartyKey
from common.messages.jobs import ListMembers, Members
from common.messages.policy import Revocation
from common.messages.registration import Registered
from common.messages.revocation import Revoke, Revoked
from common.messages.signed import sign
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld, Party, SealedBundle, SealedData


@pytest.fixture
def data(world: BrokerWorld) -> SealedData:
    return world.register_data()


@pytest.fixture
def bundle(world: BrokerWorld) -> SealedBundle:
    return world.register_bundle()


def state(world: BrokerWorld, job_id: JobId) -> str:
    return world.channel().ask(ListMembers(job_id=job_id), Members).state


def test_a_revoked_data_set_has_no_key_and_no_job(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    running = world.start_job(data, bundle)
    world.launch(TRAINER, running)
    world.revoke(data.owner, "dataset", data.dataset_id)
    world.restart()
    assert world.context.dataset(data.dataset_id).keys is None
    assert state(world, running) == "cancelled"
    with pytest.raises(ConflictError, match="conflict.job_state"):
        world.launch(TRAINER, running)
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.accept(sign(world.order(data, bundle), world.owner.key))
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.channel().ask(world.dataset_registration(data), Registered)


def test_what_was_trained_on_it_stays(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    job_id = world.start_job(data, bundle)
    manifest = world.finish(job_id)
    world.revoke(data.owner, "dataset", data.dataset_id)
    assert state(world, job_id) == "finished"
    assert world.draw(world.launch(QUERY, job_id), world.grant(manifest)).answers == 64


def test_a_revoked_bundle_serves_nobody(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    finished, running = world.start_job(data, bundle), world.start_job(data, bundle)
    manifest = world.finish(finished)
    enclave = world.launch(QUERY, finished)
    world.revoke(bundle.provider, "bundle", bundle.bundle_id)
    assert state(world, running) == "cancelled"
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.launch(QUERY, finished)
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.draw(enclave, world.grant(manifest))


def test_a_revoked_grant_gives_no_more_answers(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    job_id = world.start_job(data, bundle)
    manifest = world.finish(job_id)
    enclave, grant, other = world.launch(QUERY, job_id), world.grant(manifest), world.grant(manifest)
    world.draw(enclave, grant)
    world.revoke(world.owner, "grant", GrantId.of(grant.digest))
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.draw(enclave, grant)
    assert world.draw(enclave, other).answers == 64


def test_nobody_ends_anothers_grant(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    job_id, other = world.start_job(data, bundle), Party()
    world.register_data(other)
    grant = world.grant(world.finish(job_id))
    world.revoke(other, "grant", GrantId.of(grant.digest))
    assert world.draw(world.launch(QUERY, job_id), grant).answers == 64


def test_a_revoked_job_is_cancelled_and_a_finished_ones_model_gone(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    running, finished = world.start_job(data, bundle), world.start_job(data, bundle)
    manifest = world.finish(finished)
    enclave = world.launch(QUERY, finished)
    for job_id in (running, finished):
        world.revoke(world.owner, "job", job_id)
    assert (state(world, running), state(world, finished)) == ("cancelled", "finished")
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.launch(QUERY, finished)
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.draw(enclave, world.grant(manifest))


def test_twice_is_logged_once(world: BrokerWorld, data: SealedData) -> None:
    world.revoke(data.owner, "dataset", data.dataset_id)
    size = world.head.size
    assert world.revoke(data.owner, "dataset", data.dataset_id) == Revoked(
        identifier=data.dataset_id, leases_end=world.time
    )
    assert world.head.size == size


def test_only_its_own_party_ends_a_thing(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    job_id = world.start_job(data, bundle)
    stranger = Party()
    for target, identifier in (("dataset", data.dataset_id), ("bundle", bundle.bundle_id), ("job", job_id)):
        with pytest.raises(PolicyError, match="policy.signer"):
            world.revoke(stranger, target, identifier)
    with pytest.raises(NotFoundError, match="not_found.dataset"):
        world.revoke(stranger, "grant", "grant_" + "0" * 32)
    assert state(world, job_id) == "running"


def test_a_revocation_signed_by_another_or_for_another_broker_is_refused(world: BrokerWorld, data: SealedData) -> None:
    fields = {
        "nonce": bytes(16), "party": data.owner.party, "target": "dataset", "identifier": data.dataset_id,
        "broker": world.genesis.signing_public, "created": world.time,
    }  # fmt: skip
    forged = sign(Revocation.model_validate(fields), Party().key)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.channel().ask(Revoke(revocation=forged), Revoked)
    with pytest.raises(PolicyError, match="policy.broker"):
        world.revoke(data.owner, "dataset", data.dataset_id, broker=PartyKey("ab" * 32))
    with pytest.raises(FormatError, match="format.identifier"):
        world.revoke(data.owner, "bundle", data.dataset_id)
    assert world.context.dataset(data.dataset_id).keys is not None
