"""Attacks by way of a broker that is gone: a stolen identity that was ended there lives again where its data sets go.

The thief has the owner's signing key and works with the operator and with people of his own, whom he names as holders.
"""

from pathlib import Path
from typing import Any

import pytest

from common.errors import ConflictError, FreshnessError, NotFoundError, PolicyError, Refusal
from common.messages.decision_log import LogEntry
from common.messages.policy import DataPolicy
from common.messages.recovery import SharesRefused
from common.messages.recovery_package import RecoveryPackage
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from services.attestation.identity_replacement import DATASETS_AT_ONCE
from services.attestation.recovery_packages import changes_dataset
from tests.fakes.broker_world import BrokerWorld, Party, SealedData
from tests.fakes.identities import Recoverable, bind, held_by, recover, replaced, replacement, revocation
from tests.fakes.recovery_world import RecoveryWorld, terms_of


@pytest.fixture
def lost(tmp_path: Path) -> RecoveryWorld:
    """The owner of its data set has a recovery key, which the old broker knows."""
    lost, owner = RecoveryWorld(tmp_path), Recoverable()
    with lost.old.attended(lost.witness_identity.signing_key):
        bind(lost.old, owner)
    lost.old.owner = owner
    lost.data = lost.old.register_data(recovery=terms_of(lost.holders))
    lost.witness.round()
    return lost


def owner_of(lost: RecoveryWorld) -> Recoverable:
    assert isinstance(lost.data.owner, Recoverable)
    return lost.data.owner


def end(lost: RecoveryWorld, world: BrokerWorld, successor: Recoverable | None = None, **changes: Any) -> None:
    """The owner's recovery key ends the identity at this broker."""
    owner = owner_of(lost)
    word = revocation(world, owner) if successor is None else replacement(world, owner, successor, **changes)
    with world.attended(lost.witness_identity.signing_key):
        recover(world, word)


def known_by_card(lost: RecoveryWorld, world: BrokerWorld) -> None:
    with world.attended(lost.witness_identity.signing_key):
        bind(world, owner_of(lost))


def update(lost: RecoveryWorld, signer: Party, **changes: Any) -> Signed:
    """The next version of the policy at the old broker."""
    old = lost.old
    before = old.context.dataset(lost.data.dataset_id).policy_document
    version = DataPolicy.decode(before.payload).policy_version + 1
    fields = {"owner": lost.data.owner.party, "policy_version": version, "previous": before.digest} | changes
    document = sign(old.policy_terms(signer, **fields), signer.key)
    with old.attended(lost.witness_identity.signing_key):
        old.channel().ask(old.policy_update(lost.data, document), Registered)
    return document


def given(lost: RecoveryWorld, new: BrokerWorld, package: Signed, holders: list[Party]) -> Any:
    return lost.request(new, [lost.share(one, new, package) for one in holders[:2]], package)


def test_a_policy_of_the_thief_that_is_void_brings_his_people_nothing(lost: RecoveryWorld) -> None:
    """His version is over with the statement, and so are the shares that it gave to his people."""
    crowd, stolen = [Party() for _ in range(3)], lost.old.head.size
    update(lost, owner_of(lost), recovery=terms_of(crowd), max_jobs=1000)
    package = lost.package()
    end(lost, lost.old, Recoverable(), void_from=stolen)
    lost.witness.round()
    new = lost.new_machine()
    with pytest.raises(FreshnessError, match=r"freshness\.recovery"):
        new.channel().ask(given(lost, new, package, crowd), SharesRefused)
    newest = RecoveryPackage.decode(lost.package().payload)
    assert newest.policy == lost.data.policy.digest
    assert {one.holder for one in newest.shares} == {one.party for one in lost.holders}


def test_a_data_set_that_the_thief_registered_leaves_no_package(lost: RecoveryWorld) -> None:
    stolen = lost.old.head.size
    planted = lost.old.register_data(recovery=terms_of(lost.holders))
    package = lost.package(data=planted)
    end(lost, lost.old, Recoverable(), void_from=stolen)
    lost.witness.round()
    assert planted.dataset_id not in lost.old.store.packages
    new = lost.new_machine()
    with pytest.raises(FreshnessError, match=r"freshness\.recovery"):
        new.channel().ask(given(lost, new, package, lost.holders), SharesRefused)


def test_things_that_stand_still_do_not_move_elsewhere(lost: RecoveryWorld) -> None:
    """A revoked identity has no package, before and after a start, until another goes on in its place."""
    package, name = lost.package(), lost.data.dataset_id
    end(lost, lost.old)
    lost.witness.round()
    assert name not in lost.old.store.packages
    new = lost.new_machine()
    with pytest.raises(FreshnessError, match=r"freshness\.recovery"):
        lost.recover(new, lost.request(new, None, package))
    lost.old.restart()
    assert name not in lost.old.store.packages


def test_they_move_again_under_the_next_identity(lost: RecoveryWorld) -> None:
    successor = Recoverable()
    end(lost, lost.old)
    end(lost, lost.old, successor)
    lost.witness.round()
    assert lost.data.dataset_id in lost.old.store.packages


def test_a_key_that_was_replaced_is_not_the_owners_elsewhere(lost: RecoveryWorld) -> None:
    """The other broker has to hear the recovery key first; then the successor's word counts there, too."""
    successor = Recoverable()
    end(lost, lost.old, successor)
    update(lost, successor, recovery=terms_of(lost.holders), max_jobs=7)
    lost.witness.round()
    new = lost.new_machine()
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        lost.recover(new)
    known_by_card(lost, new)
    end(lost, new, Recoverable())
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        lost.recover(new)  # another successor than the old broker's


def test_the_successors_policy_comes_along_where_the_statement_is_known(lost: RecoveryWorld) -> None:
    successor = Recoverable()
    end(lost, lost.old, successor)
    second = update(lost, successor, recovery=terms_of(lost.holders), max_jobs=7)
    lost.witness.round()
    new = lost.new_machine()
    known_by_card(lost, new)
    end(lost, new, successor)
    lost.recover(new)
    assert new.context.dataset(lost.data.dataset_id).policy_document == second
    entry = LogEntry.decode(new.store.entries[-1])
    assert (entry.decision, entry.subjects.parties[0]) == ("recover-dataset", successor.party)
    bundle = new.register_bundle()
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        new.accept(sign(new.order(lost.data, bundle), owner_of(lost).key))
    new.accept(sign(new.order(held_by(lost.data, successor), bundle), successor.key))


def test_an_identity_may_end_at_the_new_broker_before_its_data_set_comes(lost: RecoveryWorld) -> None:
    new, successor = lost.new_machine(), Recoverable()
    known_by_card(lost, new)
    end(lost, new)
    with pytest.raises(PolicyError, match=r"policy\.identity"):
        lost.recover(new)
    end(lost, new, successor)
    lost.recover(new)
    new.accept(sign(new.order(held_by(lost.data, successor), new.register_bundle()), successor.key))


def test_the_recovery_key_comes_along(lost: RecoveryWorld) -> None:
    """Else whoever has the stolen key would bring a card with a recovery key of his own first."""
    new, owner = lost.new_machine(), owner_of(lost)
    lost.recover(new)
    with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
        bind(new, Recoverable(owner.identity))
    with new.attended(lost.witness_identity.signing_key):
        successor = replaced(new, owner)
    new.accept(sign(new.order(held_by(lost.data, successor), new.register_bundle()), successor.key))


def test_an_identity_without_a_card_gets_none_there(lost: RecoveryWorld) -> None:
    owner = Recoverable()
    lost.data = lost.old.register_data(owner, recovery=terms_of(lost.holders))
    lost.witness.round()
    new = lost.new_machine()
    lost.recover(new)
    with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
        bind(new, owner)
    with pytest.raises(NotFoundError, match=r"not_found\.recovery_key"):
        recover(new, revocation(new, owner))


def test_a_card_of_the_thief_stops_the_data_set(lost: RecoveryWorld) -> None:
    """He may know a broker before its owner does; then the owner's things do not come under his recovery key."""
    new, thief = lost.new_machine(), Recoverable(owner_of(lost).identity)
    with new.attended(lost.witness_identity.signing_key):
        bind(new, thief)
    with pytest.raises(ConflictError, match=r"conflict\.identity_card"):
        lost.recover(new)


def test_what_came_since_the_theft_is_void_there(lost: RecoveryWorld) -> None:
    """A thief's version that the old broker took goes along unnoticed; the owner who dates the theft ends it."""
    update(lost, owner_of(lost), recovery=terms_of(lost.holders), approvers=(Party().party,), approvals_needed=1)
    lost.witness.round()
    new = lost.new_machine()
    stolen = new.head.size
    lost.recover(new)
    end(lost, new, Recoverable(), void_from=stolen)
    assert new.context.dataset(lost.data.dataset_id).keys is None


def test_a_version_after_the_recovery_is_void_and_the_recovered_one_stands(lost: RecoveryWorld) -> None:
    new, owner = lost.new_machine(), owner_of(lost)
    lost.recover(new)
    stolen = new.head.size
    fields = {"policy_version": 2, "previous": lost.data.policy.digest, "max_jobs": 1000}
    version = sign(new.policy_terms(owner, **fields), owner.key)
    with new.attended(lost.witness_identity.signing_key):
        new.channel().ask(new.policy_update(lost.data, version), Registered)
    end(lost, new, Recoverable(), void_from=stolen)
    data = new.context.dataset(lost.data.dataset_id)
    assert (data.policy_document.digest, data.keys is None) == (lost.data.policy.digest, False)


def test_a_holder_whose_identity_is_over_gives_nothing(lost: RecoveryWorld) -> None:
    new, holder = lost.new_machine(), Recoverable(lost.holders[0].identity)
    with new.attended(lost.witness_identity.signing_key):
        bind(new, holder)
        recover(new, revocation(new, holder))
    refused = new.channel().ask(lost.request(new), SharesRefused)
    assert refused.holders == (holder.party,)
    lost.recover(new, lost.request(new, [lost.share(one, new) for one in lost.holders[1:]]))


def test_no_data_set_of_a_party_is_forgotten_however_many_they_are(lost: RecoveryWorld) -> None:
    """The log says of each that its packages are old, also where the broker dies between two of its entries."""
    old, owner = lost.old, owner_of(lost)
    record = old.context.dataset(lost.data.dataset_id)
    more: list[SealedData] = [old.seal_data(owner) for _ in range(DATASETS_AT_ONCE)]
    for one in more:
        changes = {"dataset_id": one.dataset_id, "manifest_document": one.manifest, "policy_document": one.policy}
        old.context.state.enclose(record.model_copy(update=changes))
    with old.attended(lost.witness_identity.signing_key):
        bind(old, Recoverable())  # a decision that carries them
    signed = revocation(old, owner)
    before, append = old.head.size, old.store.append

    def dies_after_one(entry: bytes, blob: bytes) -> None:
        if old.store.entry_count > before:
            raise OSError
        append(entry, blob)

    old.store.append = dies_after_one  # type: ignore[method-assign]
    with pytest.raises((OSError, Refusal)):
        recover(old, signed)
    old.store.append = append  # type: ignore[method-assign]
    old.restart()
    lost.witness.round()
    with old.attended(lost.witness_identity.signing_key):
        recover(old, signed)
        size = old.head.size
        recover(old, signed)
    assert old.head.size == size
    said = [LogEntry.decode(one) for one in old.store.entries[before:]]
    for one in (lost.data, *more):
        assert any(changes_dataset(entry.decision, entry.code, entry.subjects, one.dataset_id) for entry in said)
