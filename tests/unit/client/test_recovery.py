"""What a holder's machine demands before a share leaves it, and what an owner's keeps of holders."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client import recovery
from client.context import Party as OwnParty
from client.policy_terms import PolicyTerms, RecoveryWishes, sign_policy
from client.recovery_events import ShareGiven
from common.crypto.key_file import Identity
from common.errors import AppraisalError, AuthenticityError, FreshnessError, NotFoundError, PolicyError
from common.identifiers import MrEnclave
from common.messages.policy import DataPolicy
from common.messages.recovery_package import RecoveryPackage
from common.messages.recovery_terms import HolderCard
from common.messages.signed import Signed, sign
from services.attestation.context import BrokerContext
from services.attestation.key_broker import KeyBroker
from tests.fakes.broker_world import BrokerWorld, MemoryStore, Party
from tests.fakes.handover_world import Heir
from tests.fakes.log_keeping import identity_directory
from tests.fakes.operator import Operator, operating
from tests.fakes.recovery_world import RecoveryWorld, terms_of


@pytest.fixture
def lost(tmp_path: Path) -> RecoveryWorld:
    return RecoveryWorld(tmp_path)


@contextmanager
def holder_facing(lost: RecoveryWorld, new: BrokerWorld, holder: Party | None = None) -> Iterator[OwnParty]:
    """A holder who has pinned the old broker, and whom this one answers now."""
    with operating(Operator(new, new.platform.collateral())) as operator:
        acting = holder or lost.holders[0]
        yield identity_directory(lost.old, acting, lost.directory / acting.party, operator.endpoints)


def given(party: OwnParty, document: Signed) -> Signed:
    path = party.directory / "share.json"
    *_, last = recovery.give_share(party, document, path)
    assert isinstance(last, ShareGiven)
    return Signed.decode(path.read_bytes())


def test_shares_that_it_gives_are_taken(lost: RecoveryWorld) -> None:
    new, shares = lost.new_machine(), list[Signed]()
    for holder in lost.holders[1:]:
        with holder_facing(lost, new, holder) as party:
            shares.append(given(party, lost.package()))
    assert lost.recover(new, lost.request(new, shares)).dataset_id == lost.data.dataset_id


def test_a_share_is_given_under_no_older_collateral_than_was_seen(lost: RecoveryWorld) -> None:
    new, pki = lost.new_machine(), lost.old.platform.pki
    with holder_facing(lost, new) as party:
        party.remember_collateral(pki.collateral(datetime.now(UTC) + timedelta(hours=1)))
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            given(party, lost.package())
        assert not (party.directory / "share.json").exists()


def test_shares_for_a_broker_that_was_handed_over_open_in_the_build_that_runs(lost: RecoveryWorld) -> None:
    new, shares = lost.new_machine(), list[Signed]()
    later = Heir.of(new)
    with new.attended(lost.witness_identity.signing_key):
        given_over = later.give()
    later.adopt(later.take(given_over))
    new.release = lost.old.release = later.release
    lost.witness_of(new, "witness-new.json").round()
    for holder in lost.holders[1:]:
        with holder_facing(lost, new, holder) as party:
            shares.append(given(party, lost.package()))
    assert lost.recover(new, lost.request(new, shares)).dataset_id == lost.data.dataset_id


def test_code_that_the_release_does_not_name_gets_no_share(lost: RecoveryWorld) -> None:
    new = lost.new_machine(thawed=False)
    new.context = BrokerContext.start(new.runtime("broker", MrEnclave("f" * 64)), MemoryStore(), new.rule, new.time)
    new.core = KeyBroker(new.context)
    with holder_facing(lost, new) as party:
        with pytest.raises(AppraisalError, match=r"appraisal\.measurement"):
            given(party, lost.package())
        assert not (party.directory / "share.json").exists()


def test_a_machine_of_an_unknown_maker_gets_no_share(lost: RecoveryWorld) -> None:
    stranger = BrokerWorld(lost.directory / "stranger")
    with holder_facing(lost, stranger) as party, pytest.raises(AppraisalError, match=r"appraisal\.root"):
        given(party, lost.package())


def test_simulation_gets_no_share_of_an_identity_for_hardware(lost: RecoveryWorld) -> None:
    new, strict = lost.new_machine(), Party(Identity.generate("strict", unsafe_simulation=False))
    lost.holders[0] = strict
    lost.data = lost.old.register_data(recovery=terms_of(lost.holders))
    with holder_facing(lost, new) as party, pytest.raises(AppraisalError, match=r"appraisal\.(trust_level|floor)"):
        given(party, lost.package())


def test_the_old_broker_gets_no_share_back(lost: RecoveryWorld) -> None:
    with holder_facing(lost, lost.old) as party, pytest.raises(AppraisalError, match=r"appraisal\.pin"):
        given(party, lost.package())


def test_a_package_of_a_broker_that_was_never_pinned_is_not_served(lost: RecoveryWorld) -> None:
    new, other = lost.new_machine(), RecoveryWorld(lost.directory / "other")
    with holder_facing(lost, new) as party, pytest.raises(AppraisalError, match=r"appraisal\.pin"):
        given(party, other.package())


def test_a_package_that_the_pinned_broker_has_not_signed_is_not_served(lost: RecoveryWorld) -> None:
    new, made = lost.new_machine(), RecoveryPackage.decode(lost.package().payload)
    forged = sign(made.model_copy(update={"policy_version": 7}), Party().key)
    with holder_facing(lost, new) as party, pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        given(party, forged)


def test_who_holds_no_share_is_told_so(lost: RecoveryWorld) -> None:
    with (
        holder_facing(lost, lost.new_machine(), Party()) as party,
        pytest.raises(PolicyError, match=r"policy\.recovery"),
    ):
        given(party, lost.package())


def test_a_share_that_was_swapped_for_another_holders_does_not_open(lost: RecoveryWorld) -> None:
    new, made = lost.new_machine(), RecoveryPackage.decode(lost.package().payload)
    first, second, third = made.shares
    swapped = first.model_copy(update={"wrapped": second.wrapped})
    document = sign(made.model_copy(update={"shares": (swapped, second, third)}), lost.old.context.signing_key)
    with holder_facing(lost, new) as party, pytest.raises(AuthenticityError):
        given(party, document)


def test_a_policy_names_holders_by_the_cards_that_its_owner_keeps(lost: RecoveryWorld) -> None:
    owner = identity_directory(lost.old, lost.data.owner, lost.directory / "owner")
    wishes = RecoveryWishes(holders=tuple(one.party for one in lost.holders), needed=2)
    terms = PolicyTerms(recovery=wishes, releases=(lost.old.release.digest,))
    with pytest.raises(NotFoundError, match=r"not_found\.holder"):
        sign_policy(owner, terms)
    for number, holder in enumerate(lost.holders):
        party = identity_directory(lost.old, holder, lost.directory / f"holder-{number}")
        card = party.directory / "card.json"
        list(recovery.write_card(party, card))
        list(recovery.keep_card(owner, card))
    named = DataPolicy.decode(sign_policy(owner, terms).payload).recovery
    assert named is not None
    assert [(one.party, one.wrapping_public) for one in named.holders] == [
        (one.party, one.report_key) for one in lost.holders
    ]


def test_a_card_in_another_s_name_is_not_kept(lost: RecoveryWorld) -> None:
    owner = identity_directory(lost.old, lost.data.owner, lost.directory / "owner")
    ann, eve = lost.holders[:2]
    card = HolderCard(party=ann.party, wrapping_public=eve.report_key)
    path = lost.directory / "card.json"
    path.write_bytes(sign(card, eve.key).encode())
    with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
        list(recovery.keep_card(owner, path))
    assert owner.documents("holders") == []
