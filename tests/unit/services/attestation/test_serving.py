"""An owner's name stands for the models that its newest record names, and a grant for it for nothing else."""

from dataclasses import dataclass

import pytest

from common.crypto.digests import sha256
from common.errors import AuthenticityError, FreshnessError, NotFoundError, PolicyError, QuotaError
from common.identifiers import JobId, PartyKey
from common.key_retrieval import Launch
from common.messages.serving import ReadServing, ServedModel, ServedName, ServingRecord, ServingShown, SetServing
from common.messages.signed import Signed, sign
from services.attestation import serving
from tests.fakes.broker_world import QUERY, BrokerWorld, Party, SealedBundle, SealedData


@dataclass
class Version:
    """A finished job and its model."""

    job_id: JobId
    manifest: Signed


@pytest.fixture
def data(world: BrokerWorld) -> SealedData:
    return world.register_data()


@pytest.fixture
def bundle(world: BrokerWorld) -> SealedBundle:
    return world.register_bundle()


@pytest.fixture
def versions(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> list[Version]:
    jobs = [world.start_job(data, bundle) for _ in range(3)]
    return [Version(job_id, world.finish(job_id)) for job_id in jobs]


def served(world: BrokerWorld) -> ServedName:
    return ServedName(owner=world.owner.party, name="digits")


def read(world: BrokerWorld) -> ServingRecord:
    shown = world.channel(world.user).ask(ReadServing(served=served(world)), ServingShown)
    return ServingRecord.decode(shown.record.payload)


def launched(world: BrokerWorld, versions: list[Version]) -> list[Launch]:
    return [world.launch(QUERY, one.job_id) for one in versions]


def granted(world: BrokerWorld, versions: list[Version], **changes: object) -> Signed:
    fields: dict[str, object] = {"model_id": None, "manifest": None, "served": served(world)}
    return world.grant(versions[0].manifest, **(fields | changes))


def test_a_grant_for_a_name_is_answered_by_what_its_newest_record_names(
    world: BrokerWorld, versions: list[Version]
) -> None:
    first, second, third = launched(world, versions)
    grant = granted(world, versions)
    with pytest.raises(PolicyError, match="policy.serving"):
        world.draw(first, grant)
    world.serve(world.serving(1, versions[0].manifest))
    assert world.draw(first, grant, 10).answers == 10
    with pytest.raises(PolicyError, match="policy.serving"):
        world.draw(second, grant)
    world.serve(world.serving(2, versions[1].manifest, versions[0].manifest))
    for one in (first, second):  # who asked the one before goes on with it
        assert world.draw(one, grant, 10).answers == 10
    world.serve(world.serving(3, versions[1].manifest, None, versions[2].manifest))
    world.restart()
    first, second, third = launched(world, versions)
    for one in (second, third):
        assert world.draw(one, grant, 10).answers == 10
    with pytest.raises(PolicyError, match="policy.serving"):
        world.draw(first, grant)


def test_one_budget_stands_for_all_versions(world: BrokerWorld, versions: list[Version]) -> None:
    first, second, _ = launched(world, versions)
    world.serve(world.serving(1, versions[0].manifest, versions[1].manifest))
    grant = granted(world, versions, answers=100)
    assert world.draw(first, grant, 64).remaining == 36
    assert world.draw(second, grant, 64).answers == 36
    with pytest.raises(PolicyError, match="policy.budget"):
        world.draw(first, grant, 1)


def test_a_grant_for_a_model_does_not_ask_for_a_name(world: BrokerWorld, versions: list[Version]) -> None:
    first, second, _ = launched(world, versions)
    world.serve(world.serving(1, versions[1].manifest))
    grant = world.grant(versions[0].manifest)
    assert world.draw(first, grant, 1).answers == 1
    with pytest.raises(PolicyError, match="policy.grant"):
        world.draw(second, grant, 1)


def test_records_are_taken_in_their_order_and_an_older_one_never_again(
    world: BrokerWorld, versions: list[Version]
) -> None:
    with pytest.raises(NotFoundError, match="not_found.serving"):
        read(world)
    first = world.serving(1, versions[0].manifest)
    assert world.serve(first) == world.serve(first)
    second = world.serving(2, versions[1].manifest, versions[0].manifest)
    world.serve(second)
    for wrong in (first, world.serving(2, versions[2].manifest), world.serving(4, versions[2].manifest)):
        with pytest.raises(FreshnessError, match="freshness.serving"):
            world.serve(wrong)
    world.restart()
    assert read(world) == second


def test_an_owner_has_so_many_names_and_no_more(
    world: BrokerWorld, versions: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "MAX_NAMES", 1)
    first = world.serving(1, versions[0].manifest)
    world.serve(first)
    with pytest.raises(QuotaError, match="quota.names"):
        world.serve(first.model_copy(update={"served": ServedName(owner=world.owner.party, name="another")}))
    world.serve(world.serving(2, versions[1].manifest))


def test_only_owners_name_their_own_models(world: BrokerWorld, versions: list[Version]) -> None:
    record = world.serving(1, versions[0].manifest)
    stranger = Party()
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.serve(record, stranger)
    with pytest.raises(PolicyError, match="policy.signer"):
        world.serve(record.model_copy(update={"served": ServedName(owner=stranger.party, name="digits")}), stranger)
    with pytest.raises(PolicyError, match="policy.broker"):
        world.serve(record.model_copy(update={"broker": PartyKey("ab" * 32)}))
    forged = ServedModel(model_id=record.current.model_id, manifest=sha256(b"another"))
    with pytest.raises(NotFoundError, match="not_found.model"):
        world.serve(record.model_copy(update={"current": forged}))


def test_a_model_of_several_owners_needs_all_of_them(world: BrokerWorld, bundle: SealedBundle) -> None:
    other = Party()
    both = [world.register_data(), world.register_data(owner=other)]
    job_id = world.accept(sign(world.order(both, bundle), world.owner.key, other.key)).job_id
    manifest = world.finish(job_id)
    record = world.serving(1, manifest)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.serve(record)
    world.serve(record, world.owner, other)
    enclave = world.launch(QUERY, job_id)
    fields = {"model_id": None, "manifest": None, "served": served(world)}
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        world.draw(enclave, world.grant(manifest, **fields))
    assert world.draw(enclave, world.grant(manifest, world.owner, other, **fields)).answers == 64


def test_a_revoked_model_is_served_no_more(world: BrokerWorld, versions: list[Version]) -> None:
    world.serve(world.serving(1, versions[0].manifest))
    world.revoke(world.owner, "job", versions[0].job_id)
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.serve(world.serving(2, versions[1].manifest, versions[0].manifest))
    world.serve(world.serving(2, versions[1].manifest))


def test_each_record_is_in_the_log_for_its_owner(world: BrokerWorld, versions: list[Version]) -> None:
    size = world.head.size
    signed = sign(world.serving(1, versions[0].manifest), world.owner.key)
    for _ in range(2):
        world.channel().ask(SetServing(record=signed), ServingShown)
    assert world.head.size == size + 1
    read(world)
    assert world.head.size == size + 1
