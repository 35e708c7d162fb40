"""One query through the enclave's own code: what it costs, what it gives, and what the host can tell from outside."""

import threading
import time

import numpy as np
import pytest

from client.query_session import QuerySession
from common.crypto.keys import SecretKey
from common.errors import AuthenticityError, FormatError, FreshnessError, PolicyError, Refusal
from common.identifiers import SessionId
from common.messages.answer_bounds import AnswerBounds
from common.messages.budget import BudgetBlock
from common.messages.query import QUERY_MAGIC, SESSION_REPLY_BYTES, Header
from common.messages.query_tensors import decode_outcome, encode_question
from common.messages.signed import Signed
from common.query_sealing import SessionCipher
from services.query_enclave.blocks import BLOCK_ANSWERS
from services.query_enclave.sessions import ANSWERS_KEPT
from tests.fakes.query_world import LEASE_SECONDS, PROFILE, ROWS, WEIGHTS_CF, Launch, QueryWorld, rows_of


def cipher_of(session: QuerySession) -> SessionCipher:
    """The user's end of the channel, to send what the SDK would not."""
    return session._channel.cipher


def test_rows_come_back_as_scores_and_labels(world: QueryWorld) -> None:
    answer = world.session(world.launch()).ask(rows_of(3))
    assert answer.scores is not None
    np.testing.assert_allclose(
        answer.scores.astype(np.float32), (rows_of(3) @ WEIGHTS_CF.T).astype(np.float32), rtol=1e-5
    )
    np.testing.assert_array_equal(answer.labels, (rows_of(3) @ WEIGHTS_CF.T).argmax(axis=1))


def test_a_label_grant_gives_no_scores(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(detail="label"))
    answer = session.ask(rows_of(2))
    assert answer.scores is None
    np.testing.assert_array_equal(answer.labels, (rows_of(2) @ WEIGHTS_CF.T).argmax(axis=1))


def test_terms_that_allow_less_than_the_grant_give_less(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(answers=BLOCK_ANSWERS + 40))
    world.ledger.detail = "label"
    assert session.ask(rows_of(4)).scores is None
    world.ledger.detail = "scores"  # wider terms: what is held was charged as labels
    for _ in range(BLOCK_ANSWERS // 4 - 1):
        assert session.ask(rows_of(4)).scores is None
    assert session.ask(rows_of(4)).scores is not None


def test_bounds_of_grant_and_terms_are_kept_and_what_is_held_stays_tightened(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(answers=BLOCK_ANSWERS + 40, answer_bounds=AnswerBounds(top=2)))
    world.ledger.bounds = AnswerBounds(decimals=1)
    first = session.ask(rows_of(4)).scores
    assert first is not None
    tenths = 10 * first.astype(np.float64)
    assert (tenths > 0).sum() <= 2 * 4
    np.testing.assert_allclose(tenths, np.round(tenths), atol=1e-5)
    world.ledger.bounds = AnswerBounds()
    for _ in range(BLOCK_ANSWERS // 4 - 1):
        held = session.ask(rows_of(4)).scores
        np.testing.assert_array_equal(held, first)
    wider = session.ask(rows_of(4)).scores
    assert wider is not None
    assert np.isinf(wider).sum() == 4  # one of three is not told to the grant's two


def test_each_row_costs_one_answer(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(answers=10))
    assert [session.ask(rows_of(count)).answers_left for count in (1, 4, 2)] == [9, 5, 3]


def test_a_used_up_budget_refuses_before_provider_code_runs(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=5))
    session.ask(rows_of(4))
    with pytest.raises(PolicyError, match="policy.budget"):
        session.ask(rows_of(2))
    assert launch.model.calls == 1
    assert session.ask(rows_of(1)).answers_left == 0
    with pytest.raises(PolicyError, match="policy.budget"):
        session.ask(rows_of(1))


def test_a_budget_holds_over_all_sessions_of_a_grant(world: QueryWorld) -> None:
    launch, grant = world.launch(), world.grant(answers=6)
    first, second = world.session(launch, grant), world.session(launch, grant)
    assert first.ask(rows_of(4)).answers_left == 2
    with pytest.raises(PolicyError, match="policy.budget"):
        second.ask(rows_of(3))


def test_a_restarted_enclave_regains_no_answers(world: QueryWorld) -> None:
    grant = world.grant(answers=BLOCK_ANSWERS + 3)
    world.session(world.launch(), grant).ask(rows_of(1))
    again = world.session(world.launch(), grant)
    assert again.ask(rows_of(1)).answers_left == 2


def test_blocks_are_drawn_not_single_answers(world: QueryWorld) -> None:
    session = world.session(world.launch())
    for _ in range(10):
        session.ask(rows_of(2))
    assert world.ledger.draws == 1


def test_what_is_left_of_a_block_waits_for_the_brokers_word_when_a_lease_is_over(world: QueryWorld) -> None:
    """Before that the broker is not asked; its word charges nothing, and holds for a lease again."""
    launch, total = world.launch(), BLOCK_ANSWERS + 40
    session = world.session(launch, world.grant(answers=total))
    session.ask(rows_of(1))
    for asked in (1, 2, 3):
        launch.clock.at += LEASE_SECONDS - 1.0
        assert session.ask(rows_of(1)).answers_left == total - 2 * asked
        assert world.ledger.draws == asked
        launch.clock.at += 1.0
        assert session.ask(rows_of(1)).answers_left == total - 2 * asked - 1
        assert world.ledger.draws == asked + 1
    assert sum(world.ledger.drawn.values()) == BLOCK_ANSWERS


def test_a_grant_that_is_used_up_by_being_drawn_is_answered_to_its_last(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=3))
    for left in (2, 1, 0):
        assert session.ask(rows_of(1)).answers_left == left
        launch.clock.at += LEASE_SECONDS
    with pytest.raises(PolicyError, match="policy.budget"):
        session.ask(rows_of(1))


@pytest.mark.parametrize("code", ["policy.revoked", "policy.budget", "unavailable.broker"])
def test_no_answer_of_a_block_after_a_lease_without_the_brokers_word(world: QueryWorld, code: str) -> None:
    """What is held stays charged and unused; should the broker say later that the grant holds, it can be asked."""
    launch = world.launch()
    session = world.session(launch, world.grant(answers=3 * BLOCK_ANSWERS))
    session.ask(rows_of(1))
    world.ledger.refusal = code
    launch.clock.at += LEASE_SECONDS - 1.0
    session.ask(rows_of(1))
    launch.clock.at += 1.0
    for _ in range(2):
        with pytest.raises(Refusal, match=code):
            session.ask(rows_of(1))
    assert launch.model.calls == 2
    world.ledger.refusal = None
    assert session.ask(rows_of(1)).answers_left == 3 * BLOCK_ANSWERS - 3
    assert sum(world.ledger.drawn.values()) == BLOCK_ANSWERS


def test_a_block_lives_from_before_it_was_asked_for(world: QueryWorld) -> None:
    """A host that delays the answer shortens it: what the broker knew may be as old as the question."""
    launch, drawn = world.launch(), world.ledger.draw
    session = world.session(launch, world.grant(answers=3 * BLOCK_ANSWERS))

    def late(grant: Signed, answers: int) -> BudgetBlock:
        launch.clock.at += 8.0
        return drawn(grant, answers)

    world.ledger.draw = late  # type: ignore[method-assign]
    session.ask(rows_of(1))
    world.ledger.refusal = "policy.revoked"
    launch.clock.at += LEASE_SECONDS - 8.0
    with pytest.raises(PolicyError, match="policy.revoked"):
        session.ask(rows_of(1))


def test_terms_that_were_tightened_to_labels_count_for_what_is_held(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=BLOCK_ANSWERS))
    assert session.ask(rows_of(1)).scores is not None
    world.ledger.detail = "label"
    assert session.ask(rows_of(1)).scores is not None
    launch.clock.at += LEASE_SECONDS
    assert session.ask(rows_of(1)).scores is None


def test_clocks_that_are_held_gain_what_is_left_of_a_block(world: QueryWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """By them no grant and no lease ends; the next block takes the broker's word, to a fresh nonce."""
    held = time.time()
    monkeypatch.setattr(time, "time", lambda: held)
    session = world.session(world.launch(), world.grant(answers=3 * BLOCK_ANSWERS))
    session.ask(rows_of(4))
    world.ledger.refusal = "policy.revoked"
    for _ in range(BLOCK_ANSWERS // 4 - 1):
        session.ask(rows_of(4))
    with pytest.raises(PolicyError, match="policy.revoked"):
        session.ask(rows_of(1))


def test_what_the_broker_refuses_the_user_reads(world: QueryWorld) -> None:
    world.ledger.refusal = "policy.revoked"
    with pytest.raises(PolicyError, match="policy.revoked"):
        world.session(world.launch()).ask(rows_of(1))


def test_failing_provider_code_is_a_typed_error_and_stays_charged(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=10))
    launch.model.code = "provider.timeout"
    with pytest.raises(Refusal, match="provider.timeout"):
        session.ask(rows_of(2))
    launch.model.code = None
    assert session.ask(rows_of(1)).answers_left == 7


def test_a_repeated_query_is_answered_from_memory(world: QueryWorld) -> None:
    launch = world.launch()
    world.session(launch, world.grant(answers=10)).ask(rows_of(2))
    query, answer = launch.sent[-1][1], launch.received[-1]
    assert launch.answering.answer(query) == answer
    assert launch.model.calls == 1


def test_two_redeliveries_at_once_are_one_evaluation(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    session.ask(rows_of(1))
    computing, go_on = threading.Event(), threading.Event()
    answer = launch.model.answer

    def slowly(rows: np.ndarray, seconds: float) -> object:
        computing.set()
        go_on.wait(10)
        return answer(rows, seconds)

    launch.model.answer = slowly  # type: ignore[method-assign,assignment]
    query = cipher_of(session).seal_query(9, encode_question(rows_of(1), PROFILE))
    got: list[bytes] = []
    threads = [threading.Thread(target=lambda: got.append(launch.answering.answer(query))) for _ in range(2)]
    threads[0].start()
    assert computing.wait(10)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(got) == 2
    assert got[0] == got[1]
    assert launch.model.calls == 2  # one of them is the first query's


def test_another_query_under_a_used_counter_is_refused(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    session.ask(rows_of(1))
    query = cipher_of(session).seal_query(0, encode_question(rows_of(2), PROFILE))
    answer = launch.answering.answer(query)
    with pytest.raises(FreshnessError, match="freshness.session"):
        decode_outcome(cipher_of(session).open_answer(query, answer), PROFILE)
    assert launch.model.calls == 1


def test_a_counter_below_the_window_is_refused_and_not_charged(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    for _ in range(ANSWERS_KEPT + 1):
        session.ask(rows_of(1))
    first = launch.sent[1][1]
    answer = launch.answering.answer(first)
    with pytest.raises(FreshnessError, match="freshness.session"):
        decode_outcome(cipher_of(session).open_answer(first, answer), PROFILE)
    assert launch.model.calls == ANSWERS_KEPT + 1


def test_all_outcomes_have_one_size(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=8))
    label = world.session(launch, world.grant(detail="label", nonce=b"\1" * 16))
    label.ask(rows_of(1))
    session.ask(rows_of(ROWS))
    for code in ("provider.timeout", "provider.raised"):
        launch.model.code = code
        with pytest.raises(Refusal):
            session.ask(rows_of(1))
    with pytest.raises(PolicyError):
        session.ask(rows_of(4))
    garbage = cipher_of(session).seal_query(77, b"\xff" * PROFILE.question_bytes)
    answers = [body for (path, _), body in zip(launch.sent, launch.received, strict=False) if path.endswith("queries")]
    answers.append(launch.answering.answer(garbage))
    assert {len(answer) for answer in answers} == {PROFILE.answer_bytes}
    assert len({len(body) for path, body in launch.sent if path.endswith("queries")}) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.012, 0.05, 0.051, 0.26])
def test_an_answer_leaves_on_a_multiple_of_the_quantum(world: QueryWorld, seconds: float) -> None:
    launch = world.launch()
    session = world.session(launch)
    answer = launch.model.answer

    def taking(rows: np.ndarray, deadline: float) -> object:
        launch.clock.at += seconds
        return answer(rows, deadline)

    launch.model.answer = taking  # type: ignore[method-assign,assignment]
    arrived = launch.clock.at
    session.ask(rows_of(1))
    quanta = (launch.clock.at - arrived) / 0.05
    assert quanta == pytest.approx(max(1, -(-seconds // 0.05)))


def test_an_immediate_answer_waits_for_nothing(world: QueryWorld) -> None:
    launch = world.launch(questions=4, answer_timing="immediate")
    session = world.session(launch)
    answer = launch.model.answer

    def taking(rows: np.ndarray, deadline: float) -> object:
        launch.clock.at += 0.012
        return answer(rows, deadline)

    launch.model.answer = taking  # type: ignore[method-assign,assignment]
    arrived = launch.clock.at
    session.ask(rows_of(1))
    assert launch.clock.at - arrived == pytest.approx(0.012)


def test_provider_code_gives_no_immediate_answers(world: QueryWorld) -> None:
    """The refusal is sealed, of the size of any reply: no host learns whether a job's code could be exported."""
    launch = world.launch(answer_timing="immediate")
    with pytest.raises(PolicyError, match=r"policy\.answer_timing") as told:
        world.session(launch)
    assert (told.value.expected, told.value.seen) == ("a graph that trusted code computes", "provider code")
    assert [len(one) for one in launch.received] == [SESSION_REPLY_BYTES]
    assert len(launch.sessions) == 0


def test_a_sealed_refusal_waits_for_the_quantum_too(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch, world.grant(answers=1))
    session.ask(rows_of(1))
    arrived = launch.clock.at
    with pytest.raises(PolicyError):
        session.ask(rows_of(1))
    assert launch.clock.at - arrived == pytest.approx(0.05)


def test_wrong_shape_inside_a_genuine_query_is_answered_sealed(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    wrong = bytearray(PROFILE.question_bytes)
    wrong[0], wrong[1], wrong[7] = 7, 1, 1
    wrong[8:12] = (7).to_bytes(4, "big")
    query = cipher_of(session).seal_query(0, bytes(wrong))
    answer = launch.answering.answer(query)
    with pytest.raises(FormatError, match="format.query") as caught:
        decode_outcome(cipher_of(session).open_answer(query, answer), PROFILE)
    assert caught.value.expected == "float32 of shape (1 to 4, 6)"
    assert caught.value.seen == "float32 of shape (1, 7)"
    assert launch.model.calls == 0
    assert world.ledger.draws == 0


def test_a_grant_that_expires_in_a_running_session_is_refused(world: QueryWorld) -> None:
    session = world.session(world.launch(), world.grant(not_after=int(time.time()) + 60))
    session.ask(rows_of(1))
    world.later = 120
    with pytest.raises(FreshnessError, match="freshness.grant"):
        session.ask(rows_of(1))


def test_no_answer_after_the_lease(world: QueryWorld) -> None:
    """Also those of a block that was drawn before; and nothing is charged."""
    session = world.session(world.launch())
    left = session.ask(rows_of(1)).answers_left
    world.lease_is_over = True
    with pytest.raises(FreshnessError, match="freshness.lease"):
        session.ask(rows_of(1))
    world.lease_is_over = False
    assert session.ask(rows_of(1)).answers_left == left - 1


def send(launch: Launch, query: bytes) -> None:
    """Before the session's key is shown to be right, a refusal is a public code."""
    launch.answering.answer(query)


def test_a_query_of_another_size_is_a_public_refusal(world: QueryWorld) -> None:
    launch = world.launch()
    world.session(launch).ask(rows_of(1))
    with pytest.raises(FormatError, match="format.query"):
        send(launch, launch.sent[-1][1] + b"\0")


def test_a_foreign_session_is_a_public_refusal(world: QueryWorld) -> None:
    launch = world.launch()
    foreign = SessionCipher(SecretKey.generate(), SessionId.new(), world.manifest.digest)
    with pytest.raises(FreshnessError, match="freshness.session"):
        send(launch, foreign.seal_query(0, bytes(PROFILE.question_bytes)))


@pytest.mark.parametrize("at", [25, 31, 40, 200, -1])
def test_a_changed_query_is_refused_and_charges_nothing(world: QueryWorld, at: int) -> None:
    launch = world.launch()
    world.session(launch).ask(rows_of(1))
    query = bytearray(launch.sent[-1][1])
    query[at] ^= 1
    with pytest.raises(AuthenticityError, match="authenticity.query"):
        send(launch, bytes(query))
    assert launch.model.calls == 1


def test_the_header_alone_names_session_and_counter(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    session.ask(rows_of(1))
    header = Header.parse(launch.sent[-1][1], QUERY_MAGIC)
    assert header.session_id == cipher_of(session).session_id
    assert header.counter == 0
