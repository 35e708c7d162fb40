import pytest

from common.crypto.keys import KeyRing, SecretKey
from common.crypto.wrapping import wrap, wrap_ring
from common.errors import AuthenticityError, ConflictError, FormatError, FreshnessError, NotFoundError, PolicyError
from common.key_binding import data_key_info, policy_info
from common.messages.objects import DatasetManifest
from common.messages.policy import DataPolicy
from common.messages.refusal_detail import Refused
from common.messages.registration import RegisterDataset, Registered, UpdatePolicy
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import BrokerWorld, Party, SealedData


def register(world: BrokerWorld, body: RegisterDataset) -> Registered:
    return world.channel().ask(body, Registered)


def test_the_same_registration_again_is_answered_alike_and_logged_once(world: BrokerWorld) -> None:
    data = world.seal_data()
    body = world.dataset_registration(data)
    first = register(world, body)
    size = world.head.size
    assert register(world, world.dataset_registration(data)) == first
    assert first.dataset_id == data.dataset_id
    assert world.head.size == size


def test_another_key_for_a_registered_manifest_is_a_conflict(world: BrokerWorld) -> None:
    data = world.register_data()
    other = SealedData(data.owner, SecretKey.generate(), data.manifest, data.policy)
    with pytest.raises(ConflictError, match="conflict.registered"):
        register(world, world.dataset_registration(other))


def test_a_manifest_signed_by_somebody_else_is_refused(world: BrokerWorld) -> None:
    data = world.seal_data()
    forged = sign(DatasetManifest.decode(data.manifest.payload), Party().key)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        register(world, world.dataset_registration(SealedData(data.owner, data.key, forged, data.policy)))


def test_foreign_ciphertext_and_wrapped_key_under_ones_own_policy_are_refused(world: BrokerWorld) -> None:
    victim = world.seal_data()
    stolen = world.dataset_registration(victim)
    thief = Party()
    policy = sign(world.policy_terms(thief), thief.key)
    parts = DatasetManifest.decode(victim.manifest.payload).parts
    manifest = sign(DatasetManifest(owner=thief.party, parts=parts, policy=policy.digest), thief.key)
    body = RegisterDataset(manifest=manifest, policy=world.wrap_policy(policy, thief), data_key=stolen.data_key)
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        register(world, body)


def test_the_victims_own_manifest_with_the_thiefs_policy_is_refused(world: BrokerWorld) -> None:
    victim, thief = world.seal_data(), Party()
    stolen = world.dataset_registration(victim)
    policy = sign(world.policy_terms(thief), thief.key)
    body = RegisterDataset(manifest=victim.manifest, policy=world.wrap_policy(policy, thief), data_key=stolen.data_key)
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        register(world, body)


def test_a_policy_of_another_owner_is_refused(world: BrokerWorld) -> None:
    owner = Party()
    policy = sign(world.policy_terms(Party()), owner.key)
    manifest = world.seal_data(owner).manifest
    parts = DatasetManifest.decode(manifest.payload).parts
    own = sign(DatasetManifest(owner=owner.party, parts=parts, policy=policy.digest), owner.key)
    with pytest.raises(PolicyError, match="policy.signer"):
        register(world, world.dataset_registration(SealedData(owner, SecretKey.generate(), own, policy)))


def test_another_document_than_the_stated_digest_names_is_refused(world: BrokerWorld) -> None:
    data = world.register_data()
    stated, other = next_policy(world, data, data.policy), next_policy(world, data, data.policy, max_jobs=9)
    info = policy_info(data.owner.party, stated.digest, world.genesis.digest)
    wrapped = wrap(other.encode(), world.genesis.wrapping_public, info)
    body = UpdatePolicy(dataset_id=data.dataset_id, digest=stated.digest, policy=wrapped)
    with pytest.raises(FormatError, match="format.message"):
        world.channel().ask(body, Registered)


def test_a_key_ring_of_another_name_is_refused(world: BrokerWorld) -> None:
    data = world.seal_data()
    body = world.dataset_registration(data)
    info = data_key_info(data.manifest.digest, data.owner.party, data.policy.digest, world.genesis.digest)
    ring = wrap_ring(KeyRing({"other": data.key}), world.genesis.wrapping_public, info)
    with pytest.raises(FormatError, match="format.message"):
        register(world, body.model_copy(update={"data_key": ring}))


@pytest.mark.parametrize(
    ("unsafe_simulation", "minimal"), [(False, "simulation"), (False, "sgx"), (True, "sgx"), (True, "tdx")]
)
def test_simulation_takes_only_parties_that_asked_for_it(
    world: BrokerWorld, unsafe_simulation: bool, minimal: str
) -> None:
    data = world.seal_data(unsafe_simulation=unsafe_simulation, minimal_trust_level=minimal)
    with pytest.raises(PolicyError, match="policy.trust_level"):
        register(world, world.dataset_registration(data))
    bundle = world.seal_bundle(unsafe_simulation=unsafe_simulation, minimal_trust_level=minimal)
    with pytest.raises(PolicyError, match="policy.provider_terms"):
        world.channel().ask(world.bundle_registration(bundle), Registered)


def test_the_reason_is_told_to_the_party_alone(world: BrokerWorld) -> None:
    data = world.seal_data(unsafe_simulation=False)
    body = world.dataset_registration(data)
    with pytest.raises(PolicyError) as told:
        world.channel(data.owner).ask(body, Registered)
    assert told.value.expected == "an identity with unsafe_simulation"
    with pytest.raises(PolicyError) as untold:
        world.channel(Party()).ask(body, Registered)
    assert untold.value.expected is None
    answer = world.reply(body).body
    assert isinstance(answer, Refused)
    assert b"unsafe" not in answer.encode()


def next_policy(world: BrokerWorld, data: SealedData, newest: Signed, **changes: object) -> Signed:
    before = DataPolicy.decode(newest.payload)
    terms = {"policy_version": before.policy_version + 1, "previous": newest.digest} | changes
    return sign(world.policy_terms(data.owner, **terms), data.owner.key)


def test_policy_versions_are_chained_and_never_older(world: BrokerWorld) -> None:
    data = world.register_data()
    channel = world.channel(data.owner)
    second = next_policy(world, data, data.policy, max_jobs=9)
    channel.ask(world.policy_update(data, second), Registered)
    channel.ask(world.policy_update(data, second), Registered)  # the newest again
    assert world.context.dataset(data.dataset_id).policy.max_jobs == 9
    third = next_policy(world, data, second, max_jobs=1)
    for stale in (data.policy, next_policy(world, data, third), next_policy(world, data, second, previous=None)):
        with pytest.raises(FreshnessError, match="freshness.policy"):
            channel.ask(world.policy_update(data, stale), Registered)
    assert world.context.dataset(data.dataset_id).policy.max_jobs == 9


def test_a_policy_update_by_another_party_is_refused(world: BrokerWorld) -> None:
    data, thief = world.register_data(), Party()
    policy = sign(world.policy_terms(thief, policy_version=2, previous=data.policy.digest), thief.key)
    body = world.policy_update(SealedData(thief, data.key, data.manifest, policy), policy)
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        world.channel().ask(body, Registered)


def test_a_policy_for_an_unknown_data_set_is_refused(world: BrokerWorld) -> None:
    data = world.seal_data()
    with pytest.raises(NotFoundError, match="not_found.dataset"):
        world.channel().ask(world.policy_update(data, data.policy), Registered)


def test_a_bundle_registered_twice_is_the_same_bundle(world: BrokerWorld) -> None:
    bundle = world.register_bundle()
    again = world.channel().ask(world.bundle_registration(bundle), Registered)
    assert again.bundle_id == bundle.bundle_id


def test_a_bundle_key_opens_under_no_other_publication_and_terms(world: BrokerWorld) -> None:
    """Neither for another provider nor for its own one, whose newer terms would be wider."""
    stolen = world.bundle_registration(world.seal_bundle(world.provider))
    for provider in (Party(), world.provider):
        own = world.bundle_registration(world.seal_bundle(provider))
        with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
            world.channel(provider).ask(own.model_copy(update={"bundle_key": stolen.bundle_key}), Registered)
