"""The bounds cover what provider code can choose from."""

from common.exchange.payloads import OUTCOME_CODES
from common.leakage import (
    FAILURES,
    MOMENTS,
    RELEASE_TICKS,
    AnswerSize,
    answer_bits,
    attempt_bits,
    report_bits,
    schedule_bits,
)
from common.messages.answer_bounds import AnswerBounds
from services.query_enclave.departures import DEADLINE_SECONDS, Timing
from tests.vectors.sample_documents import SCHEDULE


def test_there_are_as_many_failures_and_ticks_as_are_charged() -> None:
    assert len(OUTCOME_CODES[1:]) <= FAILURES  # the first one is no failure
    for timing in (Timing(), Timing.of_graph()):
        milliseconds = range(int(DEADLINE_SECONDS * 1000) + 1)
        assert len({round(timing.leaves_after(one / 1000), 6) for one in milliseconds}) + 2 <= RELEASE_TICKS


def test_labels_and_scores() -> None:
    assert answer_bits(AnswerSize(10, 40), "label") == 5 + 6
    assert answer_bits(AnswerSize(10, 40), "scores") == 321 + 6
    assert answer_bits(AnswerSize(1, 1), "label") == 5 + 6
    assert 2**8 + FAILURES <= 2**9


def test_an_answer_that_leaves_when_it_is_ready_is_charged_for_every_microsecond() -> None:
    assert MOMENTS == DEADLINE_SECONDS * 1_000_000 <= 2**23
    assert answer_bits(AnswerSize(10, 40), "label", timing="immediate") == 5 + 23
    assert answer_bits(AnswerSize(10, 40), "scores", timing="immediate") == 321 + 23


def test_bounds_of_scores_are_bounds_of_bits() -> None:
    ten = AnswerSize(10, 40)

    def bits(size: AnswerSize, **bounds: int) -> int:
        return answer_bits(size, "scores", AnswerBounds(**bounds)) - 6

    assert bits(ten) == bits(ten, top=10) == bits(ten, queries_per_minute=1) == 320 + 1
    assert bits(ten, top=3) == 7 + 3 * 32 + 1  # 10 over 3 = 120 <= 2^7
    assert bits(ten, decimals=2) == 4 + 10 * 7 + 1  # 101 values <= 2^7, and which of ten is the label
    assert bits(ten, top=3, decimals=2) == 7 + 2 + 3 * 7 + 1
    assert bits(ten, top=5, decimals=0) == min(8 + 3 + 5, 4 + 10) + 1
    assert bits(AnswerSize(1, 4), decimals=0) == 5  # no less than a label: F refusals must fit
    huge = answer_bits(AnswerSize(1 << 24, 1 << 24), "scores", AnswerBounds(top=256, decimals=6))
    assert 256 * 20 < huge < 256 * (20 + 24)


def test_a_report_to_a_provider_costs_nothing_or_what_it_can_say() -> None:
    assert (report_bits("none"), report_bits("classes")) == (0, 13)  # 2^12 < 3 x 3^7 = 6,561 <= 2^13


def test_an_attempt_costs_a_bit_a_tick_and_its_end() -> None:
    assert SCHEDULE.total_ticks == 7 + 23
    assert schedule_bits(30) == 5  # silent after one of 30 ticks, or not before the end: one of 31
    assert attempt_bits(SCHEDULE) == 30 + 5
    assert [schedule_bits(ticks) for ticks in (1, 2, 3, 1023, 1024)] == [1, 2, 2, 10, 11]
