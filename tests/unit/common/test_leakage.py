"""The bounds cover what provider code can choose from."""

import math

from common.exchange.payloads import OUTCOME_CODES
from common.leakage import FAILURES, RELEASE_TICKS, AnswerSize, answer_bits, attempt_bits
from services.query_enclave.answering import DEADLINE_SECONDS, QUANTUM_SECONDS
from tests.vectors.sample_documents import SCHEDULE


def test_there_are_as_many_failures_and_ticks_as_are_charged() -> None:
    assert len(OUTCOME_CODES) <= FAILURES
    assert math.ceil(DEADLINE_SECONDS / QUANTUM_SECONDS) + 2 <= RELEASE_TICKS


def test_labels_and_scores() -> None:
    assert answer_bits(AnswerSize(10, 40), "label") == 5 + 6
    assert answer_bits(AnswerSize(10, 40), "scores") == 321 + 6
    assert answer_bits(AnswerSize(1, 1), "label") == 5 + 6
    assert 2**8 + FAILURES <= 2**9


def test_an_attempt_costs_a_bit_a_tick() -> None:
    assert attempt_bits(SCHEDULE) == SCHEDULE.total_ticks == 7 + 23
