import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.witness import WitnessSettings, watch
from client.witness_memory import WitnessMemory
from client.witnessing import Witness
from common.crypto.key_file import Identity
from common.enclave.simulated_pki import SimulatedPki
from common.errors import (
    AppraisalError,
    AuthenticityError,
    ConflictError,
    FormatError,
    FreshnessError,
    Refusal,
    UnavailableError,
)
from common.messages.broker_exchange import BrokerRequest
from common.messages.decision_log import ConsistencyProof, NextHead
from common.messages.launch_binding import NO_SUBJECT
from common.messages.log_heads import ConfirmAndAwait, ConfirmHead, LogHead
from services.attestation import state
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import MEASUREMENTS, MemoryStore
from tests.fakes.watched_broker import Watched


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker whose log does not grow answers soon."""
    monkeypatch.setattr("services.attestation.key_broker.AWAIT_SECONDS", 0.01)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_it_confirms_a_new_broker_and_follows_it(watched: Watched) -> None:
    assert not watched.witness.broker_is_thawed
    watched.witness.round()
    assert watched.witness.broker_is_thawed
    watched.world.register_data()
    watched.witness.round()
    assert watched.remembered == watched.world.head


def test_it_verifies_a_quote_of_hardware_with_what_the_operator_serves(watched: Watched) -> None:
    """Such a quote carries no collateral (`DcapQuote`); what comes beside it is verified with it."""
    watched.world.bare_broker()
    pki, at = watched.world.platform.pki, datetime.fromtimestamp(watched.world.time, UTC)
    foreign, expired = SimulatedPki.generate(at).collateral(at), pki.collateral(at - timedelta(days=31))
    for collateral in (None, foreign, expired):
        watched.service.collateral = collateral
        with pytest.raises(Refusal):
            watched.witness.round()
        assert not watched.witness.broker_is_thawed
    watched.service.collateral = pki.collateral(at)
    watched.service.paths.clear()
    watched.witness.round()
    assert watched.witness.broker_is_thawed
    assert watched.service.paths[:3] == ["/v1/release", "/v1/broker", "/v1/collateral/sgx/c0ffee000000/platform"]


def test_it_says_a_thing_once(watched: Watched) -> None:
    watched.witness.round()
    before = len(watched.service.asked)
    watched.witness.round()
    assert len(watched.service.asked) == before + 1  # only asks who the broker is


def test_it_follows_a_verified_broker_without_another_quote(watched: Watched) -> None:
    assert not watched.witness.follow(), "nothing was verified yet"
    watched.witness.round()
    for number in range(3):
        watched.world.register_data()
        watched.service.paths.clear()
        assert watched.witness.follow()
        assert watched.remembered == watched.world.head
        assert watched.service.paths == ["/v1/log/next"], "one request a decision"
        assert len(confirmations(watched)) == 1 + number, "its word comes with the next question"
        assert watched.world.context.anchor.unconfirmed == 1
    assert watched.witness.follow(), "nothing new, so that it says its word"
    assert confirmations(watched)[-1] == watched.world.head
    assert watched.world.context.anchor.unconfirmed == 0
    assert watched.witness.follow()
    assert len(confirmations(watched)) == 1 + 3, "and says it once"


def test_a_word_that_did_not_arrive_is_said_again(watched: Watched) -> None:
    watched.witness.round()
    watched.world.register_data()
    assert watched.witness.follow()
    with unanswered(watched), pytest.raises(UnavailableError):
        watched.witness.follow()
    assert not watched.witness.broker_is_thawed
    assert not watched.witness.follow(), "a whole round first"
    watched.witness.round()
    assert watched.world.context.anchor.unconfirmed == 0
    assert watched.witness.broker_is_thawed


def test_a_broker_of_before_hears_the_word_apart(watched: Watched) -> None:
    """Of a build that takes no word with a question: its host refuses what it cannot read."""
    honest = watched.service.post

    def of_before(path: str, body: bytes) -> bytes:
        if isinstance(BrokerRequest.decode(body).body, ConfirmAndAwait):
            raise FormatError("format.message", expected="BrokerRequest")
        return honest(path, body)

    watched.service.post = of_before  # type: ignore[method-assign]
    watched.witness.round()
    for _ in range(3):
        watched.world.register_data()
        assert watched.witness.follow()
        assert watched.witness.follow()
        assert confirmations(watched)[-1] == watched.world.head
        assert watched.world.context.anchor.unconfirmed == 0
        assert watched.witness.broker_is_thawed


def test_a_word_is_not_said_once_the_broker_is_retired(watched: Watched) -> None:
    """Another process of this witness may retire it between its signing and the next question."""
    watched.witness.round()
    watched.world.register_data()
    assert watched.witness.follow()
    memory = WitnessMemory.decode((watched.directory / "witness.json").read_bytes())
    retired = memory.model_copy(update={"successor": NO_SUBJECT})
    (watched.directory / "witness.json").write_bytes(retired.encode())
    with pytest.raises(ConflictError, match="conflict.successor"):
        watched.witness.follow()
    assert watched.world.context.anchor.unconfirmed == 1


def test_a_word_goes_to_no_other_boot(watched: Watched) -> None:
    watched.witness.round()
    watched.world.register_data()
    assert watched.witness.follow()
    watched.world.restart()
    assert not watched.witness.follow(), "and nothing is wrong"
    assert watched.world.describe().frozen
    watched.witness.round()
    assert not watched.world.describe().frozen


def test_it_follows_no_other_boot(watched: Watched) -> None:
    watched.witness.round()
    older = watched.world.store.copy()
    watched.world.register_data()
    assert watched.witness.follow()
    watched.world.restart()
    assert not watched.witness.follow()
    watched.witness.round()
    watched.world.register_data()
    watched.world.register_data()
    assert watched.witness.follow()
    watched.world.restart(older)  # its epoch is that of the one before, its boot is not
    with pytest.raises(FreshnessError):
        watched.witness.follow()
    assert confirmations(watched)[-1] == watched.remembered
    assert not watched.witness.broker_is_thawed
    assert not watched.witness.follow()
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.witness.round()
    assert watched.world.describe().frozen


def test_a_key_that_was_not_quoted_is_not_followed(watched: Watched) -> None:
    watched.witness.round()
    stranger = Watched(watched.directory / "other")
    honest = watched.service.post
    watched.service.post = stranger.service.post  # type: ignore[method-assign]
    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
        watched.witness.follow()
    assert not watched.witness.broker_is_thawed
    watched.service.post = honest  # type: ignore[method-assign]
    assert not watched.witness.follow(), "a whole round first"


def test_it_confirms_the_same_broker_after_a_restart_of_either(watched: Watched) -> None:
    watched.witness.round()
    watched.world.register_data()
    watched.world.restart()
    watched.again().round()
    assert not watched.world.describe().frozen


def test_it_refuses_an_older_state_and_the_broker_says_so(watched: Watched) -> None:
    watched.witness.round()
    older = watched.world.store.copy()
    watched.world.register_data()
    watched.world.register_data()
    watched.witness.round()
    newest = watched.remembered
    watched.world.restart(older)
    for witness in (watched.witness, watched.again()):
        with pytest.raises(FreshnessError, match="freshness.state"):
            witness.round()
        assert not witness.broker_is_thawed
    assert watched.remembered == newest
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.world.register_data()


def test_it_refuses_an_older_state_that_another_start_made_as_long(watched: Watched) -> None:
    """The rewound broker's own start is a decision: its log is as long as the one before, but another."""
    watched.witness.round()
    older = watched.world.store.copy()
    watched.world.register_data()
    watched.witness.round()
    watched.world.restart(older)
    assert watched.world.head.size == watched.remembered.size
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.witness.round()
    assert watched.world.describe().frozen


def test_it_refuses_a_second_instance_from_one_state(watched: Watched) -> None:
    store = watched.world.store.copy()
    watched.witness.round()
    watched.world.register_data()
    watched.witness.round()
    watched.world.restart(store)
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.witness.round()


def test_it_takes_nobodys_word_that_a_head_extends_the_one_it_remembers(watched: Watched) -> None:
    """A proof that proves nothing, or none at all: the head is not confirmed, whatever broker and host say."""
    watched.witness.round()
    watched.world.register_data()
    honest, remembered = watched.service.get, watched.remembered

    def forged(path: str) -> bytes:
        if not path.startswith("/v1/log/consistency"):
            return honest(path)
        proof = ConsistencyProof.decode(honest(path))
        return proof.model_copy(update={"path": (*proof.path[:-1], bytes(32))}).encode()

    def withheld(path: str) -> bytes:
        if path.startswith("/v1/log/consistency"):
            raise UnavailableError("unavailable.service")
        return honest(path)

    for get, error in ((forged, AuthenticityError), (withheld, UnavailableError)):
        watched.service.get = get  # type: ignore[method-assign]
        with pytest.raises(error):
            watched.witness.round()
        assert not watched.witness.broker_is_thawed
        assert watched.remembered == remembered
        assert watched.world.context.anchor.unconfirmed == 1
    watched.service.get = honest  # type: ignore[method-assign]
    watched.witness.round()
    assert watched.world.context.anchor.unconfirmed == 0


Change = Callable[[NextHead], NextHead]


def changed_by(watched: Watched, change: Change) -> None:
    """A host that answers a witness that waits with something else than it should."""
    honest = watched.service.post

    def post(path: str, body: bytes) -> bytes:
        answer = honest(path, body)
        return change(NextHead.decode(answer)).encode() if path == "/v1/log/next" else answer

    watched.service.post = post  # type: ignore[method-assign]


def with_path(answer: NextHead, path: tuple[bytes, ...]) -> NextHead:
    assert answer.proof is not None
    return answer.model_copy(update={"proof": answer.proof.model_copy(update={"path": path})})


def without_proof(answer: NextHead) -> NextHead:
    return answer.model_copy(update={"proof": None})


def of_other_sizes(answer: NextHead) -> NextHead:
    assert answer.proof is not None
    return answer.model_copy(update={"proof": answer.proof.model_copy(update={"earlier": answer.proof.earlier - 1})})


def confirmations(watched: Watched) -> list[LogHead]:
    bodies = [BrokerRequest.decode(raw).body for raw in watched.service.asked]
    words = (body.word if isinstance(body, ConfirmAndAwait) else body for body in bodies)
    return [word.head for word in words if isinstance(word, ConfirmHead)]


@contextmanager
def unanswered(watched: Watched) -> Iterator[None]:
    """The service is not there."""
    honest = watched.service.post

    def lost(path: str, body: bytes) -> bytes:
        raise UnavailableError("unavailable.service", expected=path)

    watched.service.post = lost  # type: ignore[method-assign]
    yield
    watched.service.post = honest  # type: ignore[method-assign]


@pytest.mark.parametrize("path", [(), (bytes(32),), (bytes(32), bytes(32), bytes(32))])
def test_a_forged_proof_beside_the_next_head_proves_nothing(watched: Watched, path: tuple[bytes, ...]) -> None:
    watched.witness.round()
    watched.world.register_data()
    remembered = watched.remembered
    changed_by(watched, lambda answer: with_path(answer, path))
    with pytest.raises(AuthenticityError, match="authenticity.log"):
        watched.witness.follow()
    assert not watched.witness.broker_is_thawed
    assert watched.remembered == remembered == confirmations(watched)[-1]
    assert watched.world.context.anchor.unconfirmed == 1


@pytest.mark.parametrize("change", [without_proof, of_other_sizes])
def test_it_asks_for_a_proof_that_did_not_come(watched: Watched, change: Change) -> None:
    watched.witness.round()
    watched.world.register_data()
    changed_by(watched, change)
    watched.service.paths.clear()
    remembered, head = watched.remembered, watched.world.head
    assert watched.witness.follow()
    asked = f"/v1/log/consistency?earlier={remembered.size}&size={head.size}"
    assert watched.service.paths == ["/v1/log/next", asked]
    assert watched.remembered == head


def test_a_proof_that_is_withheld_everywhere_confirms_nothing(watched: Watched) -> None:
    watched.witness.round()
    watched.world.register_data()
    remembered = watched.remembered
    changed_by(watched, without_proof)

    def withheld(path: str) -> bytes:
        raise UnavailableError("unavailable.service", expected=path)

    watched.service.get = withheld  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        watched.witness.follow()
    assert not watched.witness.broker_is_thawed
    assert watched.remembered == remembered
    assert watched.world.context.anchor.unconfirmed == 1


def test_the_reply_is_the_quoted_keys_and_answers_this_question(watched: Watched) -> None:
    """An answer that came before, and the proof beside it: as genuine as they are, they are not for this nonce."""
    watched.witness.round()
    watched.world.register_data()
    earlier: list[NextHead] = []
    changed_by(watched, lambda answer: earlier.append(answer) or earlier[0])  # type: ignore[func-returns-value]
    assert watched.witness.follow()
    watched.world.register_data()
    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
        watched.witness.follow()
    assert watched.world.context.anchor.unconfirmed == 1


def test_a_log_that_grew_beside_the_one_it_remembers_hears_of_that(watched: Watched) -> None:
    """What the host proves is a log of this broker's, but not from the head that the witness remembers."""
    watched.witness.round()
    other = watched.remembered.model_copy(update={"root": NO_SUBJECT})
    memory = WitnessMemory(broker=watched.world.genesis.digest, head=other)
    (watched.directory / "witness.json").write_bytes(memory.encode())
    watched.world.register_data()
    with pytest.raises(FreshnessError, match="freshness.state"):
        watched.witness.follow()
    assert watched.remembered == other == confirmations(watched)[-1]
    assert watched.world.describe().frozen


def test_it_may_be_further_behind_than_the_broker_remembers(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host proves what the broker has forgotten."""
    watched.witness.round()
    monkeypatch.setattr(state, "ROOTS_KEPT", 2)
    for _ in range(9):
        watched.world.register_data()
    watched.world.restart()
    watched.again().round()
    assert not watched.world.describe().frozen


def test_it_stays_with_the_first_broker(watched: Watched) -> None:
    watched.witness.round()
    watched.world.restart(MemoryStore())
    with pytest.raises(AppraisalError, match="appraisal.pin"):
        watched.witness.round()
    assert watched.world.describe().frozen


def test_a_broker_that_does_not_name_it_is_none_of_its_business(watched: Watched) -> None:
    watched.world.rule = WitnessRule()
    watched.world.restart(MemoryStore())
    with pytest.raises(AppraisalError, match="appraisal.pin"):
        watched.witness.round()


def test_it_believes_only_the_releases_broker(watched: Watched) -> None:
    watched.service.release = watched.world.sign_release(MEASUREMENTS | {"broker": MEASUREMENTS["query"]}, tag="2")
    with pytest.raises(AppraisalError, match="appraisal.measurement"):
        watched.witness.round()
    watched.service.release = watched.world.sign_release(MEASUREMENTS, watched.world.owner.key)
    with pytest.raises(AppraisalError, match="appraisal.release"):
        watched.witness.round()
    assert not (watched.directory / "witness.json").exists()


def test_a_production_witness_does_not_stoop_to_simulation(watched: Watched) -> None:
    identity = Identity.generate("witness", unsafe_simulation=False)
    witness = Witness(identity, watched.world.trust, watched.service, watched.directory / "other.json", watched.now)
    with pytest.raises(AppraisalError, match="appraisal.trust_level"):
        witness.round()


def test_it_outlives_a_service_that_is_away(watched: Watched) -> None:
    watched.service.down = True
    stopped = threading.Event()
    thread = threading.Thread(target=watch, args=(watched.witness, 0.001, stopped))
    thread.start()
    try:
        watched.service.down = False
        deadline = threading.Event()
        for _ in range(5000):
            if watched.witness.broker_is_thawed:
                break
            deadline.wait(0.001)
        assert watched.witness.broker_is_thawed
    finally:
        stopped.set()
        thread.join()


def test_an_answer_to_another_question_is_not_believed(watched: Watched) -> None:
    answers: list[bytes] = []

    def replay(path: str, body: bytes) -> bytes:
        answers.append(watched.world.handle(body))
        return answers[0]

    watched.service.post = replay  # type: ignore[method-assign]
    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
        watched.witness.round()  # what it hears is no answer to its confirmation
    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
        watched.witness.round()
    assert not watched.witness.broker_is_thawed


def test_settings_name_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"listen_port": "secret-value"}')
    path.chmod(0o600)
    with pytest.raises(FormatError) as refusal:
        WitnessSettings.read(path)
    assert "listen_port" in str(refusal.value.seen)
    assert "secret-value" not in refusal.value.in_full()
