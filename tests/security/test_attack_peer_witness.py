"""Another installation's broker as the only witness. Both hosts are hostile: they restore what they like, and carry
what suits them; they do not own each other's witness.
"""

from pathlib import Path

import pytest

from common.errors import AuthenticityError, FormatError, FreshnessError, NotFoundError, UnavailableError
from common.messages.broker_identity import DescribeBroker
from common.messages.log_heads import ConfirmHead, LogHead
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.signed import Signed, sign
from services.attestation import key_broker
from services.attestation.context import WitnessRule
from services.attestation.records import PeerRecord, peer_key
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld
from tests.fakes.peer_brokers import PeerPair


@pytest.fixture
def pair(tmp_path: Path) -> PeerPair:
    return PeerPair(tmp_path)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_broker, "AWAIT_SECONDS", 0.01)


def described(world: BrokerWorld) -> Signed:
    """What the host has of the broker's description, as it is signed."""
    return sign(world.reply(DescribeBroker()), world.context.signing_key)


def remembered(pair: PeerPair) -> LogHead:
    record = pair.peer.context.state.find(PeerRecord, peer_key(pair.world.genesis.digest))
    assert record is not None
    return record.head


def test_a_broker_is_frozen_until_its_peer_has_confirmed_it(pair: PeerPair) -> None:
    assert pair.world.describe().frozen
    with pair.attended():
        pair.carrier.round()
    assert pair.carrier.broker_is_thawed
    assert not pair.world.describe().frozen
    assert remembered(pair) == pair.world.head


def test_a_whole_job_under_a_peer(pair: PeerPair) -> None:
    with pair.followed():
        job_id = pair.world.start_job()
        pair.world.finish(job_id)
        placement = pair.world.launch(QUERY, job_id).placement
    assert placement is not None
    assert b'"witnessed":true' in placement.payload


def test_it_follows_and_says_a_thing_once(pair: PeerPair) -> None:
    with pair.attended():
        pair.carrier.round()
        for _ in range(3):
            pair.world.register_data()
            assert pair.carrier.follow()
            assert pair.world.context.anchor.unconfirmed == 0
        size = pair.peer.head.size
        assert pair.carrier.follow()
        pair.carrier.round()
        assert pair.peer.head.size == size, "the same head is nothing new"


def test_an_older_state_releases_nothing_and_the_refusal_says_so(pair: PeerPair) -> None:
    with pair.attended():
        pair.carrier.round()
        older = pair.world.store.copy()
        pair.world.register_data()
        pair.carrier.round()
        newest = remembered(pair)
        pair.world.restart(older)
        for _ in range(4):
            pair.world.restart()  # longer than what the peer remembers
        for carrier in (pair.carrier, pair.again()):
            with pytest.raises(FreshnessError, match="freshness.state"):
                carrier.round()
        assert remembered(pair) == newest
    with pytest.raises(FreshnessError, match="freshness.state"):
        pair.world.register_data()


def test_of_two_brokers_on_one_state_one_goes_on(pair: PeerPair) -> None:
    with pair.attended():
        pair.carrier.round()
        fork = pair.world.store.copy()
        pair.world.restart()
        pair.carrier.round()
        pair.world.register_data()
        pair.carrier.round()
        pair.world.restart(fork)
        with pytest.raises(FreshnessError, match="freshness.state"):
            pair.carrier.round()
        assert pair.world.describe().frozen


def test_a_peer_that_is_frozen_itself_says_nothing(pair: PeerPair) -> None:
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        pair.carrier.round()
    assert pair.world.describe().frozen


def test_a_word_that_the_peers_own_witness_has_not_confirmed_does_not_leave(pair: PeerPair) -> None:
    """Else the peer's host would rewind it to before it knew, and have it sign an older head of ours."""
    pair.peer.confirm(pair.peer.witnesses[0])
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        pair.carrier.round()
    assert remembered(pair) == pair.world.head
    assert pair.world.describe().frozen
    with pair.attended():
        pair.carrier.round()
    assert not pair.world.describe().frozen


def test_a_rewound_peer_does_not_forget(pair: PeerPair) -> None:
    with pair.attended():
        pair.carrier.round()
        older, before = pair.world.store.copy(), pair.peer.store.copy()
        pair.world.register_data()
        pair.carrier.round()
    seen = pair.peer.head
    pair.peer.restart(before)
    pair.world.restart(older)
    with pytest.raises(FreshnessError, match="freshness.state"):
        pair.peer.honest_round(pair.peer.witnesses[0], seen)
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        pair.again().round()
    assert pair.world.describe().frozen


def test_a_peer_without_witnesses_is_none(pair: PeerPair, tmp_path: Path) -> None:
    lone = BrokerWorld(tmp_path / "lone")
    lone.rule = WitnessRule((), 0, (), (pair.world.genesis.digest,))
    lone.restart(lone.store)
    with pytest.raises(FreshnessError, match="freshness.state"):
        lone.channel().ask(WitnessPeer(description=described(pair.world)), PeerWitnessed)


def test_it_serves_those_that_it_was_told_to(pair: PeerPair, tmp_path: Path) -> None:
    stranger = BrokerWorld(tmp_path / "stranger")
    with pair.attended(), pytest.raises(NotFoundError, match="not_found.peer"):
        pair.peer.channel().ask(WitnessPeer(description=described(stranger)), PeerWitnessed)
    pair.serve(pair.world, stranger)  # told, but that broker has named somebody else
    with pair.attended():
        with pytest.raises(NotFoundError, match="not_found.peer"):
            pair.peer.channel().ask(WitnessPeer(description=described(stranger)), PeerWitnessed)
        pair.carrier.round()


def test_nobody_speaks_for_a_peer(pair: PeerPair, tmp_path: Path) -> None:
    """Not its host, who has no key of it, and not another broker that shows the peer's genesis."""
    other = BrokerWorld(tmp_path / "other")
    genuine = pair.world.reply(DescribeBroker())
    forged = [
        sign(genuine, other.context.signing_key),
        sign(genuine.model_copy(update={"head": other.head}), other.context.signing_key),
        described(pair.world).model_copy(update={"payload": genuine.model_copy(update={"head": other.head}).encode()}),
    ]
    with pair.attended():
        for document in forged:
            with pytest.raises(AuthenticityError, match="authenticity.signature"):
                pair.peer.channel().ask(WitnessPeer(description=document), PeerWitnessed)
        with pytest.raises(FormatError, match="format.message"):
            pair.peer.channel().ask(WitnessPeer(description=sign(pair.world.genesis, other.owner.key)), PeerWitnessed)


def test_a_word_for_an_earlier_boot_or_with_another_head_does_not_count(pair: PeerPair) -> None:
    with pair.attended():
        nonce = pair.world.describe().boot_nonce
        word = pair.peer.channel().ask(WitnessPeer(description=described(pair.world)), PeerWitnessed)
    head = LogHead(size=word.size, root=word.root, epoch=word.epoch)
    said = ConfirmHead(witness=pair.peer.genesis.signing_public, boot_nonce=nonce, head=head, signature=word.signature)
    pair.world.restart()
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        pair.world.channel().ask(said, DescribeBroker)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        pair.world.channel().ask(said.model_copy(update={"head": pair.world.head}), DescribeBroker)
    assert pair.world.describe().frozen


def test_a_launch_waits_for_the_peer(pair: PeerPair) -> None:
    with pair.attended():
        pair.carrier.round()
        job_id = pair.world.start_job()
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        pair.world.launch(TRAINER, job_id)
