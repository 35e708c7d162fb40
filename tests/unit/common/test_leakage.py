"""The bounds cover what provider code can choose from."""

import math

from common.exchange.payloads import OUTCOME_CODES
from common.leakage import FAILURES, RELEASE_TICKS, AnswerSize, answer_bits, attempt_bits, report_bits, schedule_bits
from services.query_enclave.answering import DEADLINE_SECONDS, QUANTUM_SECONDS
from tests.vectors.sample_documents import SCHEDULE


def test_there_are_as_many_failures_and_ticks_as_are_charged() -> None:
    assert len(OUTCOME_CODES[1:]) <= FAILURES  # the first one is no failure
    assert math.ceil(DEADLINE_SECONDS / QUANTUM_SECONDS) + 2 <= RELEASE_TICKS


def test_labels_and_scores() -> None:
    assert answer_bits(AnswerSize(10, 40), "label") == 5 + 6
    assert answer_bits(AnswerSize(10, 40), "scores") == 321 + 6
    assert answer_bits(AnswerSize(1, 1), "label") == 5 + 6
    assert 2**8 + FAILURES <= 2**9


def test_a_report_to_a_provider_costs_nothing_or_what_it_can_say() -> None:
    assert (report_bits("none"), report_bits("classes")) == (0, 13)  # 2^12 < 3 x 3^7 = 6,561 <= 2^13


def test_an_attempt_costs_a_bit_a_tick_and_its_end() -> None:
    assert SCHEDULE.total_ticks == 7 + 23
    assert schedule_bits(30) == 5  # silent after one of 30 ticks, or not before the end: one of 31
    assert attempt_bits(SCHEDULE) == 30 + 5
    assert [schedule_bits(ticks) for ticks in (1, 2, 3, 1023, 1024)] == [1, 2, 2, 10, 11]
