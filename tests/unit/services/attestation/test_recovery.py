"""A data set comes to another broker: by enough holders, with all that was spent, and nothing else of the old one."""

from pathlib import Path

import pytest

from common.errors import AppraisalError, ConflictError, FormatError, FreshnessError, PolicyError, UnavailableError
from common.identifiers import Digest, PartyKey
from common.messages.decision_log import LogEntry
from common.messages.recovery import SharesRefused
from common.messages.recovery_package import RecoveryPackage
from common.messages.recovery_terms import RecoveryTerms
from common.messages.registration import Registered
from common.messages.release import ReleaseRevocation
from common.messages.revocation import Revoked, RevokeRelease
from common.messages.signed import sign
from services.attestation.context import WitnessRule
from services.attestation.decision_log import Decision
from services.attestation.ledger import ATTEMPTS, JOBS, tally_of
from services.attestation.records import RevokedReleaseRecord
from services.attestation.recovery_packages import REFRESH_AFTER, SIZE_CLASS_BYTES
from tests.fakes.broker_world import QUERY, TRAINER
from tests.fakes.recovery_world import RecoveryWorld, terms_of, with_log


@pytest.fixture
def lost(tmp_path: Path) -> RecoveryWorld:
    return RecoveryWorld(tmp_path)


def test_the_key_is_released_again_by_the_new_broker(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    recovered = lost.recover(new)
    assert (recovered.dataset_id, recovered.predecessor) == (lost.data.dataset_id, lost.old.genesis.digest)
    with new.attended(lost.witness_identity.signing_key):
        launch = new.launch(TRAINER, new.start_job(lost.data, new.register_bundle()))
    assert launch.keys[f"data/{lost.data.dataset_id}"] == lost.data.key


def test_any_two_holders_do(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    lost.recover(new, lost.request(new, [lost.share(one, new) for one in lost.holders[1:]]))


def test_all_of_them_do_as_well(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    lost.recover(new, lost.request(new, [lost.share(one, new) for one in lost.holders]))


def test_the_log_names_the_head_that_it_continues(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    lost.recover(new)
    [entry] = [one for one in map(LogEntry.decode, new.store.entries) if one.decision == "recover-dataset"]
    said = entry.subjects
    assert (said.predecessor, said.continues) == (lost.old.genesis.digest, lost.old.head)
    assert said.parties == (lost.data.owner.party, *(one.party for one in lost.holders))
    assert set(said.signers) == {one.party for one in lost.holders[:2]}
    assert said.document == lost.package().digest


def test_what_was_spent_stays_spent(lost: RecoveryWorld) -> None:
    """Attempts and jobs count on; so does a job that nobody ever heard of."""
    old, witness = lost.old, lost.witness_identity.signing_key
    with old.attended(witness):
        old.launch(TRAINER, old.start_job(lost.data))
    old.start_job(lost.data)  # no witness has seen it
    new = lost.new_machine()
    lost.recover(new)
    counted = {what: new.context.state.tally(tally_of(what, lost.data.dataset_id)) for what in (JOBS, ATTEMPTS)}
    assert counted == {JOBS: 2, ATTEMPTS: 1}


def test_answers_are_not_regained(lost: RecoveryWorld) -> None:
    old, new, witness = lost.old, lost.new_machine(), lost.witness_identity.signing_key
    with old.attended(witness):
        job_id = old.start_job(lost.data)
        model = old.finish(job_id)
        old.draw(old.launch(QUERY, job_id), old.grant(model, answers=990), 990)
    lost.recover(new)
    with new.attended(witness):
        job_id = new.start_job(lost.data, new.register_bundle())
        model = new.finish(job_id)
        assert new.draw(new.launch(QUERY, job_id), new.grant(model, answers=100)).answers == 10


def test_orders_and_grants_of_the_old_broker_are_void(lost: RecoveryWorld) -> None:
    old, new = lost.old, lost.new_machine()
    bundle = old.register_bundle()
    order = sign(old.order(lost.data, bundle), old.owner.key)
    lost.recover(new)
    new.channel(bundle.provider).ask(new.bundle_registration(bundle), Registered)
    with pytest.raises(PolicyError, match="policy.broker"):
        new.accept(order)


def test_a_later_policy_comes_along_and_chains_on(lost: RecoveryWorld) -> None:
    old = lost.old
    changes = {"policy_version": 2, "previous": lost.data.policy.digest, "recovery": terms_of(lost.holders, 3)}
    second = sign(old.policy_terms(old.owner, **changes), old.owner.key)
    with old.attended(lost.witness_identity.signing_key):
        old.channel(old.owner).ask(old.policy_update(lost.data, second), Registered)
    new = lost.new_machine()
    with pytest.raises(PolicyError, match="policy.recovery"):
        lost.recover(new)
    lost.recover(new, lost.request(new, [lost.share(one, new) for one in lost.holders]))
    assert new.context.dataset(lost.data.dataset_id).policy_document == second


def test_a_package_is_there_before_a_decision_is_known_and_is_made_anew_at_each_start(lost: RecoveryWorld) -> None:
    def made() -> RecoveryPackage:
        return RecoveryPackage.decode(lost.package().payload)

    first = made()
    assert first.head == lost.old.head
    lost.old.restart()
    second = made()
    assert second.head == lost.old.context.state.log.head
    assert second.head.epoch == first.head.epoch + 1
    assert {one.commitment for one in first.shares}.isdisjoint(one.commitment for one in second.shares)


def test_the_log_behind_a_package_stays_short(lost: RecoveryWorld) -> None:
    for _ in range(REFRESH_AFTER + 5):
        lost.old.register_data()
    made_at = RecoveryPackage.decode(lost.package().payload).head.size
    assert lost.old.context.state.log.size - made_at < REFRESH_AFTER
    assert len(lost.old.store.packages) == 1


def test_its_length_does_not_tell_how_much_the_policy_allows(lost: RecoveryWorld) -> None:
    wide = lost.old.register_data(recovery=terms_of(lost.holders), columns=tuple(f"column_{n}" for n in range(64)))
    sizes = {len(RecoveryPackage.decode(lost.package(data=one).payload).sealed) for one in (lost.data, wide)}
    assert len(sizes) == 1
    assert sizes.pop() % SIZE_CLASS_BYTES < 64


def test_a_package_that_is_newer_than_the_witnesses_begins_with_what_they_know(lost: RecoveryWorld) -> None:
    lost.old.start_job(lost.data)  # the machine ends before the witness hears of it
    new = lost.new_machine()
    body = lost.request(new)
    assert body.path
    with pytest.raises(FreshnessError, match="freshness.recovery"):
        new.channel().ask(body.model_copy(update={"path": body.path[:-1]}), SharesRefused)
    lost.recover(new, body)


def test_releases_that_are_over_are_over_there_too(lost: RecoveryWorld) -> None:
    old, package = lost.old, lost.package()
    revocation = sign(ReleaseRevocation(release=old.release.digest, created=old.time), *old.release_keys)
    with old.attended(lost.witness_identity.signing_key):
        old.channel().ask(RevokeRelease(revocation=revocation), Revoked)
    lost.witness.round()
    new = lost.new_machine()
    with pytest.raises(FreshnessError, match="freshness.recovery"):
        lost.recover(new, lost.request(new, None, package))
    lost.recover(new)
    with pytest.raises(AppraisalError, match="appraisal.release"):
        new.start_job(lost.data, new.register_bundle())


def test_holders_that_cannot_be_served_are_refused_before_anything_is_stored(lost: RecoveryWorld) -> None:
    """A key of the right length that is none, or a package that nothing could carry, would stop every later start."""
    old, size = lost.old, lost.old.context.state.log.size
    good = terms_of(lost.holders)
    no_key = good.holders[0].model_copy(update={"wrapping_public": b"\xff" * 1216})
    low_order = good.holders[0].model_copy(update={"wrapping_public": lost.holders[0].report_key[:1184] + bytes(32)})
    for holder in (no_key, low_order):
        named = RecoveryTerms(holders=(holder, *good.holders[1:]), needed=2)
        with pytest.raises(FormatError, match="format.message"):
            old.register_data(recovery=named)
    many = tuple(Digest(f"{number:064x}") for number in range(1024))
    users = tuple(PartyKey(one) for one in many)
    with pytest.raises(FormatError, match="format.too_large"):
        old.register_data(recovery=good, users=users, bundles=many)
    assert old.context.state.log.size == size
    old.restart()
    assert lost.package()


def test_what_grew_too_large_for_a_package_has_none_and_stops_nothing(lost: RecoveryWorld) -> None:
    state, document = lost.old.context.state, lost.data.policy
    over = [RevokedReleaseRecord(release=Digest(f"{number:064x}"), document=document) for number in range(257)]
    state.commit(Decision("revoke-release"), lost.old.time, *over)
    assert lost.data.dataset_id not in lost.old.store.packages
    lost.old.restart()
    lost.witness.round()
    lost.old.start_job(lost.data)
    assert lost.data.dataset_id not in lost.old.store.packages


def test_nothing_comes_twice(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    body = lost.request(new)
    lost.recover(new, body)
    with pytest.raises(ConflictError, match="conflict.registered"):
        lost.recover(new, body)


def test_a_frozen_broker_recovers_nothing(lost: RecoveryWorld) -> None:
    new = lost.new_machine(thawed=False)
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        new.channel().ask(lost.request(new), SharesRefused)


def test_a_clock_that_was_set_back_is_refused(lost: RecoveryWorld) -> None:
    """Else an expired policy would be valid again."""
    lost.old.time += 4000
    lost.old.start_job(lost.data)
    new = lost.new_machine(later=-1)
    body = lost.request(new)
    with pytest.raises(UnavailableError, match="unavailable.time"):
        new.channel().ask(body, SharesRefused)


def test_a_broker_without_witnesses_leaves_nothing_that_can_be_recovered(lost: RecoveryWorld, tmp_path: Path) -> None:
    lost.old.rule = WitnessRule()
    lost.old.restart(type(lost.old.store)())
    data = lost.old.register_data(recovery=terms_of(lost.holders))
    new = lost.new_machine()
    package = lost.package(data=data)
    body = lost.request(new, [lost.share(one, new, package) for one in lost.holders], package)
    with pytest.raises(FreshnessError, match="freshness.recovery"):
        new.channel().ask(with_log(body, lost.old.store).model_copy(update={"retirements": ()}), SharesRefused)
