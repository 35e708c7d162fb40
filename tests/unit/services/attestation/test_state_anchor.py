import threading
import time
from pathlib import Path

import pytest

from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FreshnessError, Refusal, UnavailableError
from common.messages.broker_identity import DescribeBroker
from common.messages.evidence import TrustLevel
from common.messages.jobs import Completed, ListMembers, Members
from common.messages.log_heads import ConfirmAndAwait, HeadHeard, LogHead
from common.messages.refusal_detail import Refused
from services.attestation import key_broker, state_anchor
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, BrokerWorld


@pytest.fixture
def witnessed(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path, witnesses=1)


def test_without_witnesses_nothing_is_frozen_and_placements_say_so(world: BrokerWorld) -> None:
    assert not world.describe().frozen
    job_id = world.start_job()
    world.finish(job_id)
    placement = world.launch(QUERY, job_id).placement
    assert placement is not None
    assert b'"witnessed":false' in placement.payload


def test_a_new_broker_is_frozen_until_its_witness_confirms(witnessed: BrokerWorld) -> None:
    assert witnessed.describe().frozen
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        witnessed.register_data()
    assert not witnessed.confirm(witnessed.witnesses[0]).frozen
    job_id = witnessed.start_job()
    with witnessed.attended(witnessed.witnesses[0]):
        witnessed.finish(job_id)
        placement = witnessed.launch(QUERY, job_id).placement
    assert placement is not None
    assert b'"witnessed":true' in placement.payload


def test_a_word_that_comes_with_the_question_for_the_next_head_counts_as_well(witnessed: BrokerWorld) -> None:
    known, word = witnessed.head.size - 1, witnessed.word(witnessed.witnesses[0])
    assert witnessed.describe().frozen
    assert not witnessed.channel().ask(ConfirmAndAwait(known=known, word=word), HeadHeard).frozen
    witnessed.register_data()


def test_it_is_judged_like_any_other_word(witnessed: BrokerWorld) -> None:
    stranger, witness = SigningKey.generate(), witnessed.witnesses[0]
    forked = witnessed.head.model_copy(update={"root": witnessed.genesis.digest})
    for word, code in (
        (witnessed.word(stranger), "authenticity.signature"),
        (witnessed.word(witness, nonce=bytes(32)), "freshness.challenge"),
        (witnessed.word(witness, forked), "freshness.state"),
    ):
        with pytest.raises(Refusal, match=code):
            witnessed.channel().ask(ConfirmAndAwait(known=0, word=word), HeadHeard)
    assert witnessed.describe().frozen


def test_it_lets_go_whoever_waits_for_it(witnessed: BrokerWorld) -> None:
    witness = witnessed.witnesses[0]
    witnessed.confirm(witness)
    job_id = witnessed.start_job()
    witnessed.core._confirm_seconds = 30.0
    waiting = threading.Thread(target=witnessed.launch, args=(TRAINER, job_id))
    waiting.start()
    while waiting.is_alive() and witnessed.core._waiting == 0:
        time.sleep(0.001)
    assert waiting.is_alive()
    witnessed.channel().ask(ConfirmAndAwait(known=0, word=witnessed.word(witness)), HeadHeard)
    waiting.join(20)
    assert not waiting.is_alive()


def test_every_start_freezes_again(witnessed: BrokerWorld) -> None:
    witnessed.confirm(witnessed.witnesses[0])
    job_id = witnessed.start_job()
    witnessed.restart()
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        witnessed.launch(QUERY, job_id)
    assert witnessed.channel().ask(ListMembers(job_id=job_id), Members).state == "running"


def test_a_word_for_an_earlier_boot_does_not_count(witnessed: BrokerWorld) -> None:
    witness, nonce = witnessed.witnesses[0], witnessed.describe().boot_nonce
    witnessed.confirm(witness)
    witnessed.restart()
    with pytest.raises(FreshnessError, match="freshness.challenge"):
        witnessed.confirm(witness, nonce=nonce)
    assert witnessed.describe().frozen


def test_only_a_witness_of_the_genesis_counts(witnessed: BrokerWorld) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        witnessed.confirm(SigningKey.generate())
    assert witnessed.describe().frozen


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_a_quorum_is_wanted(tmp_path: Path, quorum: int) -> None:
    world = BrokerWorld(tmp_path, witnesses=3, quorum=quorum)
    frozen = [world.confirm(witness).frozen for witness in world.witnesses]
    assert frozen == [count < quorum for count in (1, 2, 3)]
    world = BrokerWorld(tmp_path / "again", witnesses=3, quorum=2)
    assert [world.confirm(world.witnesses[0]).frozen for _ in range(3)] == [True] * 3


def test_a_witness_that_has_seen_a_later_head_keeps_it_frozen(witnessed: BrokerWorld) -> None:
    witness = witnessed.witnesses[0]
    later = LogHead(size=99, root=witnessed.head.root, epoch=1)
    with pytest.raises(FreshnessError, match="freshness.state"):
        witnessed.confirm(witness, later)
    with pytest.raises(FreshnessError, match="freshness.state"):
        witnessed.register_data()
    assert witnessed.reply(DescribeBroker()).body.type == "broker-description"


def test_a_fork_of_the_same_size_is_not_confirmed(witnessed: BrokerWorld) -> None:
    other = witnessed.head.model_copy(update={"root": witnessed.genesis.digest})
    with pytest.raises(FreshnessError, match="freshness.state"):
        witnessed.confirm(witnessed.witnesses[0], other)
    assert witnessed.describe().frozen


def test_one_objecting_witness_does_not_outvote_a_quorum(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path, witnesses=3, quorum=2)
    with pytest.raises(FreshnessError, match="freshness.state"):
        world.confirm(world.witnesses[0], LogHead(size=99, root=world.head.root, epoch=1))
    world.confirm(world.witnesses[1])
    assert not world.confirm(world.witnesses[2]).frozen
    world.register_data()


def test_it_may_run_ahead_of_its_witnesses_by_so_much(witnessed: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_anchor, "UNCONFIRMED_LIMIT", 3)
    witness = witnessed.witnesses[0]
    witnessed.confirm(witness)
    for _ in range(3):
        witnessed.register_data()
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        witnessed.register_data()
    witnessed.confirm(witness)
    witnessed.register_data()


def test_what_is_handed_out_waits_for_the_witnesses(witnessed: BrokerWorld) -> None:
    witness = witnessed.witnesses[0]
    witnessed.confirm(witness)
    job_id = witnessed.start_job()
    before = witnessed.head.size
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        witnessed.launch(TRAINER, job_id)
    assert witnessed.head.size == before + 1  # decided and wasted
    with witnessed.attended(witness):
        assert witnessed.launch(TRAINER, job_id).attempt == 2


def test_the_end_of_a_job_waits_for_the_witnesses(witnessed: BrokerWorld) -> None:
    """A report to the provider leaves behind it: a host that went back could have another launch end it once more."""
    witness = witnessed.witnesses[0]
    witnessed.confirm(witness)
    with witnessed.attended(witness):
        server = witnessed.launch(PARAMSERVER, witnessed.start_job())
    body = witnessed.completion(server)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="unavailable.frozen"):
            witnessed.channel().ask(body, Completed)
    with witnessed.attended(witness):
        assert witnessed.channel().ask(body, Completed).model_id is not None


def test_only_so_many_replies_wait(witnessed: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    witnessed.confirm(witnessed.witnesses[0])
    job_id = witnessed.start_job()
    monkeypatch.setattr(key_broker, "MAX_WAITING", 0)
    before = witnessed.head.size
    with pytest.raises(UnavailableError, match="unavailable.frozen"):
        witnessed.launch(TRAINER, job_id)
    assert witnessed.head.size == before  # nothing decided


def test_a_slow_word_about_an_earlier_head_of_this_boot_counts(witnessed: BrokerWorld) -> None:
    witness = witnessed.witnesses[0]
    witnessed.confirm(witness)
    earlier, nonce = witnessed.head, witnessed.describe().boot_nonce
    witnessed.register_data()
    assert not witnessed.confirm(witness, earlier, nonce).frozen
    witnessed.confirm(witness)
    assert not witnessed.confirm(witness, earlier, nonce).frozen  # superseded: no objection either


def test_refusals_while_frozen_are_signed_too(witnessed: BrokerWorld) -> None:
    body = witnessed.reply(witnessed.dataset_registration(witnessed.seal_data())).body
    assert body == Refused(code="unavailable.frozen")
    assert witnessed.context.platform.trust_level is TrustLevel.SIMULATION
