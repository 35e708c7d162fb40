"""The end of a release: by its keys for everybody, by an owner for his own data; and rotation, which ends no job."""

from pathlib import Path
from typing import Any

import pytest

from common.crypto.signing import SigningKey
from common.errors import AppraisalError, AuthenticityError, FormatError, PolicyError, UnavailableError
from common.identifiers import Digest, JobId, MrEnclave
from common.key_retrieval import renew_lease
from common.messages.decision_log import LogEntry
from common.messages.jobs import ListMembers, Members
from common.messages.registration import Registered
from common.messages.release import ReleaseRevocation
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.signed import Signed, sign
from services.attestation.lease_table import LEASE_SECONDS
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld, SealedBundle, SealedData

NEWER = MEASUREMENTS | {"trainer": MrEnclave("ab" * 32)}


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """A broker whose releases want two signatures."""
    return BrokerWorld(tmp_path, release_signers=2)


@pytest.fixture
def newer(world: BrokerWorld) -> Signed:
    """A release with another trainer."""
    return world.sign_release(NEWER, tag="2")


@pytest.fixture
def data(world: BrokerWorld, newer: Signed) -> SealedData:
    return world.register_data(releases=(world.release.digest, newer.digest))


@pytest.fixture
def bundle(world: BrokerWorld, newer: Signed) -> SealedBundle:
    return world.register_bundle(releases=(world.release.digest, newer.digest))


def revocation(world: BrokerWorld, *keys: SigningKey, release: Digest | None = None) -> Signed:
    return sign(
        ReleaseRevocation(release=release or world.release.digest, created=world.time), *(keys or world.release_keys)
    )


def revoke(world: BrokerWorld, *keys: SigningKey, release: Digest | None = None) -> Revoked:
    return world.channel().ask(RevokeRelease(revocation=revocation(world, *keys, release=release)), Revoked)


def next_policy(world: BrokerWorld, data: SealedData, **changes: Any) -> None:
    terms = world.policy_terms(data.owner, policy_version=2, previous=data.policy.digest, **changes)
    world.channel(data.owner).ask(world.policy_update(data, sign(terms, data.owner.key)), Registered)


def order_under(world: BrokerWorld, release: Signed, data: SealedData, bundle: SealedBundle) -> JobId:
    order = world.order(data, bundle, release=release.digest)
    return world.accept(sign(order, world.owner.key), release=release).job_id


def state(world: BrokerWorld, job_id: JobId) -> str:
    return world.channel().ask(ListMembers(job_id=job_id), Members).state


# -- revocation by the release keys


def test_nothing_happens_any_more_under_a_revoked_release(
    world: BrokerWorld, newer: Signed, data: SealedData, bundle: SealedBundle
) -> None:
    running, finished = world.start_job(data, bundle), world.start_job(data, bundle)
    trainer, model = world.launch(TRAINER, running), world.finish(finished)
    query, grant = world.launch(QUERY, finished), world.grant(model)
    assert revoke(world).identifier == world.release.digest
    assert (state(world, running), state(world, finished)) == ("cancelled", "finished")
    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        world.start_job(data, bundle)
    for role, job_id in ((TRAINER, running), (QUERY, finished)):
        with pytest.raises(AppraisalError, match=r"appraisal\.release"):
            world.launch(role, job_id)
    for launch in (trainer, query):
        with pytest.raises(AppraisalError, match=r"appraisal\.release"):
            renew_lease(world.runtime(launch.binding.role), world.channel(), launch)
    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        world.draw(query, grant)
    assert state(world, order_under(world, newer, data, bundle)) == "running", "another one is as good as before"


def test_the_owner_reads_why_and_a_stranger_the_code_alone(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    revoke(world)
    order = sign(world.order(data, bundle), world.owner.key)
    with pytest.raises(AppraisalError, match=r"appraisal\.release") as owners:
        world.accept(order)
    with pytest.raises(AppraisalError, match=r"appraisal\.release") as providers:
        world.accept(order, world.provider)
    assert owners.value.seen == f"{world.release.digest}, revoked"
    assert providers.value.seen is None


def test_it_holds_after_a_restart_and_is_logged_once(world: BrokerWorld, data: SealedData) -> None:
    bundle = world.register_bundle()
    world.start_job(data, bundle)
    before = world.head.size
    first = revoke(world)
    assert world.head.size == before + 1
    entry = LogEntry.decode(world.store.entries[-1])
    assert (entry.decision, entry.outcome, entry.subjects.release) == (
        "revoke-release", "revoked", world.release.digest,
    )  # fmt: skip
    assert set(entry.subjects.signers) == {key.party for key in world.release_keys}
    assert {data.owner.party, bundle.provider.party} < set(entry.subjects.parties)
    assert world.head.size == before + 1
    world.restart()
    size = world.head.size
    assert revoke(world).identifier == first.identifier, "the same again, or another of the same release"
    assert world.head.size == size
    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        world.start_job(data, bundle)


def test_the_reply_says_when_the_last_lease_ends(world: BrokerWorld, data: SealedData) -> None:
    world.time += LEASE_SECONDS + 1
    job_id = world.start_job(data)
    assert revoke(world, release=Digest("ab" * 32)).leases_end == world.time
    world.launch(TRAINER, job_id)
    assert revoke(world).leases_end == world.time + LEASE_SECONDS


def test_an_order_that_was_accepted_before_has_the_same_answer_and_no_launch(
    world: BrokerWorld, data: SealedData, bundle: SealedBundle
) -> None:
    order = sign(world.order(data, bundle), world.owner.key)
    accepted = world.accept(order)
    revoke(world)
    assert world.accept(order) == accepted
    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        world.launch(TRAINER, accepted.job_id)


def test_an_admission_that_was_under_way_is_too_late(world: BrokerWorld, data: SealedData) -> None:
    """The challenge was issued before, the evidence comes after."""
    job_id = world.start_job(data)

    def revoked_between(raw: bytes) -> bytes:
        if b'"admit"' in raw:
            revoke(world)
        return world.handle(raw)

    with pytest.raises(AppraisalError, match=r"appraisal\.release"):
        world.launch(TRAINER, job_id, ask=revoked_between)


def test_the_threshold_of_this_brokers_release_keys_decides(world: BrokerWorld, data: SealedData) -> None:
    one, _ = world.release_keys
    for keys in ((one,), (one, one), (one, SigningKey.generate()), (world.owner.key,)):
        with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
            revoke(world, *keys)
    assert state(world, world.start_job(data)) == "running"


def test_neither_a_release_nor_a_changed_revocation_passes_for_one(world: BrokerWorld, data: SealedData) -> None:
    signed = revocation(world)
    other = signed.payload.replace(world.release.digest.encode(), b"ab" * 32)
    for document, error in (
        (world.release, FormatError),
        (signed.model_copy(update={"payload": other}), AuthenticityError),
    ):
        with pytest.raises(error):
            world.channel().ask(RevokeRelease(revocation=document), Revoked)
    assert state(world, world.start_job(data)) == "running"


def test_the_word_leaves_only_when_a_witness_has_seen_it(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        revoke(world)
    world.honest_round(world.witnesses[0], None)
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        revoke(world)
    with world.attended(world.witnesses[0]):
        assert revoke(world).identifier == world.release.digest


def test_an_older_state_does_not_bring_it_back(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, witnesses=1)
    witness = world.witnesses[0]
    world.honest_round(witness, None)
    order = sign(world.order(world.register_data(), world.register_bundle()), world.owner.key)
    older = world.store.copy()
    with world.attended(witness):
        revoke(world)
    world.restart(older)
    with pytest.raises(UnavailableError, match=r"unavailable\.frozen"):
        world.accept(order)


# -- revocation by an owner, for his own data


def test_an_owners_next_policy_ends_a_release_for_his_data_alone(
    world: BrokerWorld, newer: Signed, data: SealedData, bundle: SealedBundle
) -> None:
    others = world.register_data(releases=(world.release.digest, newer.digest))
    running, other = world.start_job(data, bundle), world.start_job(others, bundle)
    trainer = world.launch(TRAINER, running)
    next_policy(world, data, releases=(world.release.digest, newer.digest), revoked_releases=(world.release.digest,))
    world.restart()
    for refused in (
        lambda: world.start_job(data, bundle),
        lambda: world.launch(TRAINER, running),
        lambda: renew_lease(world.runtime(TRAINER), world.channel(), trainer),
    ):
        with pytest.raises(PolicyError, match=r"policy\.release"):
            refused()
    world.launch(TRAINER, other)
    assert state(world, order_under(world, newer, data, bundle)) == "running"


def test_nor_are_models_of_it_asked_any_more(world: BrokerWorld, data: SealedData, bundle: SealedBundle) -> None:
    job_id = world.start_job(data, bundle)
    grant = world.grant(world.finish(job_id))
    query = world.launch(QUERY, job_id)
    world.draw(query, grant)
    next_policy(world, data, revoked_releases=(world.release.digest,))
    with pytest.raises(PolicyError, match=r"policy\.release"):
        world.draw(query, grant)
    with pytest.raises(PolicyError, match=r"policy\.release"):
        world.launch(QUERY, job_id)


# -- rotation


def test_a_running_job_keeps_its_release_and_later_orders_need_the_new_one(
    world: BrokerWorld, newer: Signed, data: SealedData, bundle: SealedBundle
) -> None:
    running = world.start_job(data, bundle)
    trainer = world.launch(TRAINER, running)
    next_policy(world, data, releases=(newer.digest,))
    assert renew_lease(world.runtime(TRAINER), world.channel(), trainer) == LEASE_SECONDS
    assert world.launch(TRAINER, running).attempt == 2
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        world.launch(TRAINER, running, measurement=NEWER["trainer"])
    with pytest.raises(PolicyError, match=r"policy\.release"):
        world.start_job(data, bundle)
    later = order_under(world, newer, data, bundle)
    with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
        world.launch(TRAINER, later)
    assert world.launch(TRAINER, later, measurement=NEWER["trainer"]).attempt == 1
