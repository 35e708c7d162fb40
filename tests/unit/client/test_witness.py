import threading
from pathlib import Path

import pytest

from client.witness import WitnessSettings, watch
from client.witnessing import Witness
from common.crypto.key_file import Identity
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, UnavailableError
from common.messages.attestation import BrokerRequest
from common.messages.decision_log import ConsistencyProof
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


def test_it_says_a_thing_once(watched: Watched) -> None:
    watched.witness.round()
    before = len(watched.service.asked)
    watched.witness.round()
    assert len(watched.service.asked) == before + 1  # only asks who the broker is


def test_it_follows_a_verified_broker_without_another_quote(watched: Watched) -> None:
    assert not watched.witness.follow(), "nothing was verified yet"
    watched.witness.round()
    for _ in range(3):
        watched.world.register_data()
        before = len(watched.service.asked)
        assert watched.witness.follow()
        assert watched.remembered == watched.world.head
        asked = [BrokerRequest.decode(raw).body.type for raw in watched.service.asked[before:]]
        assert asked == ["await-head", "confirm-head"]
    before = len(watched.service.asked)
    assert watched.witness.follow(), "nothing new"
    assert len(watched.service.asked) == before + 1


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
