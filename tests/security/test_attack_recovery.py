"""Attacks on recovery: the operator wants a data key, a budget or a revoked thing back by way of a broker that is gone.

Holders who give their shares to whoever asks are not defended against: any `needed` of them hold the key. Everybody
else together (operator, relays, other holders) gets nothing.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from common.crypto.aead import open_blob, seal_ring
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.labels import RECORD_KEYS, RECOVERY_PACKAGE
from common.crypto.secret_sharing import MAX_SHARES, SecretShare, join
from common.errors import AuthenticityError, ConflictError, FreshnessError, PolicyError, UnavailableError
from common.identifiers import Digest
from common.key_binding import held_share_info
from common.messages.recovery import RecoverDataset, SharesRefused
from common.messages.recovery_package import GivenShare, RecoveryPackage, Retirement
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from common.messages.tpm_counter import TpmCounter
from services.attestation.context import WitnessRule
from services.attestation.recovery_packages import RecoveryPackages, package_context
from tests.fakes.broker_world import TRAINER, BrokerWorld, Party
from tests.fakes.recovery_world import RecoveryWorld, terms_of, with_log


@pytest.fixture
def lost(tmp_path: Path) -> RecoveryWorld:
    return RecoveryWorld(tmp_path)


def refused_shares(new: BrokerWorld, body: RecoverDataset) -> tuple[str, ...]:
    return new.channel().ask(body, SharesRefused).holders


def shares_of(lost: RecoveryWorld, holders: list[Party], package: Signed) -> list[SecretShare]:
    """What dishonest holders read on their own machines."""
    made, shares = RecoveryPackage.decode(package.payload), list[SecretShare]()
    for holder in holders:
        [held] = [one for one in made.shares if one.holder == holder.party]
        info = held_share_info(
            lost.old.genesis.digest, made.dataset_id, made.policy, made.policy_version, made.head.epoch, holder.party
        )
        shares.append(SecretShare.unwrap(holder.identity.report_key, held.wrapped, info))
    return shares


# -- too few ----------------------------------------------------------------------------------------------------------


def test_one_share_fewer_opens_nothing(tmp_path: Path) -> None:
    """Neither by asking, nor by joining them outside with any share that one makes up."""
    lost = RecoveryWorld(tmp_path)
    lost.data = lost.old.register_data(recovery=terms_of(lost.holders, 3))
    lost.witness.round()
    new, package = lost.new_machine(), lost.package()
    with pytest.raises(PolicyError, match="policy.recovery"):
        lost.recover(new, lost.request(new))
    two, made = shares_of(lost, lost.holders[:2], package), RecoveryPackage.decode(package.payload)
    context = package_context(made.broker, made.dataset_id, made.policy, made.head)
    for number in range(3, MAX_SHARES + 1):
        for guess in (0, 1, 1 << 520):
            with pytest.raises(AuthenticityError):
                open_blob(join([*two, SecretShare(number, guess)]), RECOVERY_PACKAGE, made.sealed, *context)


def test_one_holder_twice_is_one_holder(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    twice = [lost.share(lost.holders[0], new) for _ in range(2)]
    with pytest.raises(PolicyError, match="policy.recovery"):
        lost.recover(new, lost.request(new, twice))


def test_a_foreign_holder_counts_for_nothing(lost: RecoveryWorld) -> None:
    """Not even with a genuine share that he was given by a holder."""
    new, stranger = lost.new_machine(), Party()
    own = lost.share(lost.holders[0], new)
    [leaked] = shares_of(lost, lost.holders[1:2], lost.package())
    epoch, boot = new.head.epoch, new.describe().boot_nonce
    forged = lost.wrapped(leaked, stranger, new, lost.package(), epoch=epoch, boot=boot)
    with pytest.raises(AuthenticityError, match="authenticity.recovery_share"):
        lost.recover(new, lost.request(new, [own, forged]))
    statement = GivenShare.decode(lost.share(lost.holders[1], new).payload)
    in_his_name = sign(statement, stranger.key)
    with pytest.raises(AuthenticityError, match="authenticity.recovery_share"):
        lost.recover(new, lost.request(new, [own, in_his_name]))


def test_the_host_does_not_lower_the_number_nor_name_holders_of_its_own(lost: RecoveryWorld) -> None:
    """The old broker has signed what it says."""
    new = lost.new_machine()
    made = RecoveryPackage.decode(lost.package().payload)
    stranger = Party()
    for changes in ({"needed": 3}, {"shares": made.shares[:2]}, {"policy_version": 9}):
        forged = sign(made.model_copy(update=changes), stranger.key)
        with pytest.raises(AuthenticityError, match="authenticity.signature"):
            new.channel().ask(lost.request(new, [], forged), SharesRefused)


def test_a_broker_of_the_hosts_own_brings_nothing_under_the_owners_policy(lost: RecoveryWorld) -> None:
    """The host has a broker in no enclave at all: it signs what it likes, under the name of the owner's data set.

    Packages name the operator's people as holders, but no policy that the owner has signed does.
    """
    crowd, own = [Party() for _ in range(3)], lost.old
    genuine = own.context.dataset(lost.data.dataset_id)
    forged = sign(own.policy_terms(own.owner, recovery=terms_of(crowd)), Party().key)
    makers = RecoveryPackages(own.context.state, own.context.signing_key)
    new = lost.new_machine()
    for policy in (forged, genuine.policy_document):
        makers._make(genuine.model_copy(update={"policy_document": policy}))
        made = RecoveryPackage.decode(lost.package().payload)
        if policy is genuine.policy_document:  # shares of its own behind the owner's true words
            terms = terms_of(crowd)
            split = makers._split(genuine, terms)
            made = makers._package(genuine, terms, split)
        package = sign(made, own.context.signing_key)
        body = lost.request(new, [lost.share(one, new, package) for one in crowd], package)
        with pytest.raises(AuthenticityError, match=r"authenticity\.(signature|recovery_package)"):
            lost.recover(new, body)


def test_keys_under_other_names_are_no_data_key(lost: RecoveryWorld) -> None:
    """A broker of an owner's own making packs what it likes for that owner's own holders."""
    state = lost.old.context.state
    record, ring = lost.old.context.dataset(lost.data.dataset_id), KeyRing({"owner": SecretKey.generate()})
    keys = seal_ring(ring, state.keys._key, RECORD_KEYS, record.key.encode())
    RecoveryPackages(state, lost.old.context.signing_key)._make(record.model_copy(update={"keys": keys}))
    new = lost.new_machine()
    with pytest.raises(AuthenticityError, match=r"authenticity\.recovery_package"):
        lost.recover(new)


# -- shares that were made for something else --------------------------------------------------------------------------


def test_a_share_for_another_broker_is_refused_by_name(lost: RecoveryWorld) -> None:
    new, other = lost.new_machine(), lost.new_machine("other")
    shares = [lost.share(lost.holders[0], new), lost.share(lost.holders[1], other)]
    assert refused_shares(new, lost.request(new, shares)) == (lost.holders[1].party,)


def test_a_share_does_not_outlive_the_boot_that_it_was_given_to(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    body = lost.request(new)
    new.restart()
    lost.witness_of(new, "witness-new.json").round()
    assert refused_shares(new, body) == tuple(one.party for one in lost.holders[:2])
    lost.recover(new, lost.request(new))


def test_a_share_for_another_package_is_refused(lost: RecoveryWorld) -> None:
    new, earlier = lost.new_machine(), lost.package()
    lost.old.start_job(lost.data)
    lost.witness.round()
    shares = [lost.share(one, new, earlier) for one in lost.holders[:2]]
    assert refused_shares(new, lost.request(new, shares)) == tuple(one.party for one in lost.holders[:2])


def test_a_share_of_another_data_set_is_not_taken_for_this_one(lost: RecoveryWorld) -> None:
    other = lost.old.register_data(recovery=terms_of(lost.holders))
    lost.witness.round()
    new, holder = lost.new_machine(), lost.holders[0]
    [foreign] = shares_of(lost, [holder], lost.package(data=other))
    epoch, boot = new.head.epoch, new.describe().boot_nonce
    wrong = lost.wrapped(foreign, holder, new, lost.package(), epoch=epoch, boot=boot)
    body = lost.request(new, [wrong, lost.share(lost.holders[1], new)])
    assert refused_shares(new, body) == (holder.party,)


def test_a_corrupted_share_is_refused_by_the_name_of_its_holder_and_tells_nothing(lost: RecoveryWorld) -> None:
    new, holder = lost.new_machine(), lost.holders[0]
    good, epoch, boot = lost.share(lost.holders[1], new), new.head.epoch, new.describe().boot_nonce
    [own] = shares_of(lost, [holder], lost.package())
    wrong = [
        lost.wrapped(SecretShare(own.number, 5), holder, new, lost.package(), epoch=epoch, boot=boot),
        lost.wrapped(SecretShare(3, own._value), holder, new, lost.package(), epoch=epoch, boot=boot),
        lost.share(holder, new, wrapped=bytes(1203)),
        lost.share(holder, new).model_copy(update={"payload": b"{}"}),
    ]
    for one in wrong:
        reply = new.reply(lost.request(new, [one, good]))
        assert reply.body == SharesRefused(holders=(holder.party,))
    lost.recover(new, lost.request(new))


# -- older packages ---------------------------------------------------------------------------------------------------


def test_a_revocation_is_never_revived(lost: RecoveryWorld) -> None:
    """The host kept everything: the package from before it, and the log after it, whole, cut or with a gap."""
    old, new = lost.old, lost.new_machine()
    before = old.store.copy()
    with old.attended(lost.witness_identity.signing_key):
        old.revoke(lost.data.owner, "dataset", lost.data.dataset_id)
    lost.witness.round()
    assert lost.data.dataset_id not in old.store.packages
    package = lost.package(before)
    body = lost.request(new, [lost.share(one, new, package) for one in lost.holders], package)
    assert body.later
    for later in (body.later, body.later[:-1], body.later[1:], ()):
        with pytest.raises(FreshnessError, match="freshness.recovery"):
            lost.recover(new, body.model_copy(update={"later": later}))


def test_a_package_from_before_a_budget_was_spent_is_refused(lost: RecoveryWorld) -> None:
    new, package = lost.new_machine(), lost.package()
    lost.old.start_job(lost.data)
    lost.witness.round()
    body = lost.request(new, [lost.share(one, new, package) for one in lost.holders], package)
    with pytest.raises(FreshnessError, match="freshness.recovery"):
        lost.recover(new, body)


def test_a_package_from_before_holders_were_changed_is_refused(lost: RecoveryWorld) -> None:
    old, new, package = lost.old, lost.new_machine(), lost.package()
    changes = {"policy_version": 2, "previous": lost.data.policy.digest, "recovery": None}
    second = sign(old.policy_terms(old.owner, **changes), old.owner.key)
    with old.attended(lost.witness_identity.signing_key):
        old.channel(old.owner).ask(old.policy_update(lost.data, second), Registered)
    lost.witness.round()
    assert lost.data.dataset_id not in old.store.packages
    body = lost.request(new, [lost.share(one, new, package) for one in lost.holders], package)
    with pytest.raises(FreshnessError, match="freshness.recovery"):
        lost.recover(new, body)


def test_a_rewound_broker_makes_no_package_that_is_believed(lost: RecoveryWorld) -> None:
    """Frozen as it is, it makes packages; starts make its log longer than the one that the witness knows."""
    old, new = lost.old, lost.new_machine()
    before = old.store.copy()
    with old.attended(lost.witness_identity.signing_key):
        old.revoke(lost.data.owner, "dataset", lost.data.dataset_id)
    lost.witness.round()
    honest = old.store
    old.store = before
    for _ in range(4):
        old.restart()
    package = lost.package()
    assert RecoveryPackage.decode(package.payload).head.size > len(honest.entries)
    shares = [lost.share(one, new, package) for one in lost.holders]
    for store in (old.store, honest):
        body = RecoverDataset(package=package, shares=tuple(shares), retirements=(lost.retirement(new),))
        if store is old.store:
            body = with_log(body, store)
        with pytest.raises(FreshnessError, match="freshness.recovery"):
            lost.recover(new, body)


def test_without_its_witnesses_a_broker_is_not_over(lost: RecoveryWorld) -> None:
    new, body = lost.new_machine(), None
    body = lost.request(new)
    word = Retirement.decode(body.retirements[0].payload)
    forged = sign(word.model_copy(update={"head": RecoveryPackage.decode(body.package.payload).head}), Party().key)
    for retirements, error in (((), FreshnessError), ((forged,), AuthenticityError)):
        with pytest.raises(error):
            lost.recover(new, body.model_copy(update={"retirements": retirements}))


# -- two brokers of one -----------------------------------------------------------------------------------------------


def test_of_two_successors_the_second_gets_nothing(lost: RecoveryWorld) -> None:
    first, second = lost.new_machine("first"), lost.new_machine("second")
    body = lost.request(first)
    with pytest.raises(ConflictError, match="conflict.successor"):
        lost.request(second)
    shares = tuple(lost.share(one, second) for one in lost.holders)
    with pytest.raises(FreshnessError, match="freshness.recovery"):
        lost.recover(second, body.model_copy(update={"shares": shares}))
    lost.recover(first, body)


def test_the_old_broker_is_frozen_for_good_once_it_is_over(lost: RecoveryWorld) -> None:
    """Its machine was never gone: it may run ahead as far as ever, and gives out nothing more."""
    old, new = lost.old, lost.new_machine()
    job_id = old.start_job(lost.data)
    lost.witness.round()
    lost.recover(new)
    for witness in (lost.witness, lost.witness_of(old, "witness.json")):
        with pytest.raises(ConflictError, match="conflict.successor"):
            witness.round()
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        old.launch(TRAINER, job_id)
    old.restart()
    assert old.describe().frozen


def test_the_new_broker_is_guarded_by_the_witnesses_that_owners_rely_on(tmp_path: Path) -> None:
    """With witnesses of the operator's own it could be rewound at will, and spend every budget again."""
    own = Party()
    for name, rule in (("own", WitnessRule((own.party,), 1)), ("none", WitnessRule())):
        lost = RecoveryWorld(tmp_path / name)
        new = lost.new_machine("new", rule, thawed=False)
        if rule.quorum:
            new.confirm(own.key)
        body = lost.request(new, [lost.share(one, new) for one in lost.holders])
        with pytest.raises(PolicyError, match=r"policy\.witnesses"):
            new.channel().ask(body, SharesRefused)


def test_a_tpm_of_the_operators_own_guards_nothing_that_comes(lost: RecoveryWorld) -> None:
    """It counts for the quorum like a witness: with two of them beside one true witness, two of three are his own."""
    own = TpmCounter(endorsement_key=Digest("e" * 64), index=0x01800000, value=0)
    new = lost.new_machine(rule=replace(lost.rule, tpm_counters=(own,)))
    with pytest.raises(PolicyError, match=r"policy\.witnesses"):
        lost.recover(new)


def test_what_came_is_not_brought_again_after_it_was_revoked(lost: RecoveryWorld) -> None:
    new = lost.new_machine()
    body = lost.request(new)
    lost.recover(new, body)
    with new.attended(lost.witness_identity.signing_key):
        new.revoke(lost.data.owner, "dataset", lost.data.dataset_id)
        with pytest.raises(ConflictError, match="conflict.registered"):
            new.channel().ask(body, SharesRefused)
        with pytest.raises(PolicyError, match="policy.revoked"):
            new.start_job(lost.data, new.register_bundle())


def test_what_is_kept_has_no_key_and_no_word_of_the_policy(lost: RecoveryWorld) -> None:
    secret = lost.data.key._raw
    kept = lost.package().encode() + lost.package().payload
    terms = [lost.old.provider.party.encode(), lost.old.release.digest.encode(), secret, secret.hex().encode()]
    assert [one for one in terms if one in kept] == []
