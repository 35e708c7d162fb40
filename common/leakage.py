"""How many bits of a data set can leave by what its policy allows (side: library).

Whoever chooses among n outcomes that an observer can tell apart says at most log2(n) bits by one choice (Shannon 1948,
section 6: entropy is largest when all are equally likely), and choices add up: the outcomes of several are the product.
Provider code that saw the data is taken to choose everything that it can influence, so these are bounds on what it says
on purpose, and on what a model gives away by itself.

    label      one of C classes, or one of F refusals instead, at one of Q ticks:  ceil(log2(C + F)) + ceil(log2(Q))
    scores     R bytes of output, or a refusal, at one of Q ticks:                 8 R + 1 + ceil(log2(Q))
    top        k of C scores of B bytes each, instead of the 8 R bits:             ceil(log2(C over k)) + 8 B k
    rounded    the label, and C confidences with one of V = 10^decimals + 1 values:
                                                                                   ceil(log2(C)) + C ceil(log2(V))
    both       which k of C, the label among them, and k confidences; or as rounded, if that is less:
                                                            ceil(log2(C over k)) + ceil(log2(k)) + k ceil(log2(V))
    immediate  instead of Q ticks, M moments that an answer can leave at:          ceil(log2(M))
    schedule   a launch falls silent after one of its T ticks, or not before the end:         ceil(log2(T + 1))
    attempt    a launch of a trainer, which shows provider code the data:         schedule, and `BITS_PER_TICK` a tick
    report     what a job's provider reads at its end, one of W numbers of refused calls
               with one of 3 words of how it went, where the policies let it:           ceil(log2(3 W))

Scores are never charged less than a label. Nothing that provider code may do ends a launch
(tests/security/sandbox/test_ryoan_rules); its end is charged as though it could, since a machine that it loads may. The
part for each tick is a convention, not a bound: frames say nothing, but the host sees what `OPEN_CHANNELS` names
(docs/threat-model.md has what was measured), and a busy or idle tick is the coarsest sign that it can read there.
"""

import math
from dataclasses import dataclass
from typing import Final

from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.order import AnswerTiming, Schedule
from common.messages.policy import AnswerDetail, RefusalReport
from common.messages.provider_report import LEARNED
from common.refused_calls import CHOICES

FAILURES: Final = 16
"""F: at least as many as there are refusals that provider code can cause in place of an answer."""

RELEASE_TICKS: Final = 64
"""Q: at least as many as there are quanta up to a query's deadline; a query has one or more answers."""

MOMENTS: Final = 5_000_000
"""M: microseconds up to a query's deadline. Finer times drown in what the machine does of itself between two clocks."""

BITS_PER_TICK: Final = 1

OPEN_CHANNELS: Final = ("CPU time", "memory", "page faults", "late ticks")
"""What the host sees of a trainer's sandbox and no bits bound. Late: a loaded machine leaves out ticks whole."""


@dataclass(frozen=True)
class AnswerSize:
    """What one row's answer can be: one of `classes` labels, or `row_bytes` bytes of scores."""

    classes: int
    row_bytes: int


def answer_bits(
    size: AnswerSize, detail: AnswerDetail, bounds: AnswerBounds = NO_ANSWER_BOUNDS, timing: AnswerTiming = "padded"
) -> int:
    """Most bits that one answer carries, its time of leaving included."""
    time = _bits(MOMENTS if timing == "immediate" else RELEASE_TICKS)
    label = _bits(size.classes + FAILURES)
    if detail == "label":
        return label + time
    return max(label, _score_bits(size, bounds) + 1) + time  # 2^b + F <= 2^(b + 1), or F + 8 <= 2^label


def _score_bits(size: AnswerSize, bounds: AnswerBounds) -> int:
    """Of the scores that are told, and, where they are rounded, of the label beside them."""
    count = size.classes
    told = min(bounds.top or count, count)
    which = _bits(math.comb(count, told)) if told < count else 0
    if bounds.decimals is None:
        return which + told * 8 * -(-size.row_bytes // count) if told < count else 8 * size.row_bytes
    each = _bits(10**bounds.decimals + 1)
    return min(which + _bits(told) + told * each, _bits(count) + count * each)


def schedule_bits(total_ticks: int) -> int:
    """Most bits that the end of one launch carries, by a schedule of so many ticks."""
    return _bits(total_ticks + 1)


def launch_bits(total_ticks: int) -> int:
    """What one launch of one trainer is charged, by a schedule of so many ticks."""
    return schedule_bits(total_ticks) + total_ticks * BITS_PER_TICK


def attempt_bits(schedule: Schedule) -> int:
    """What one launch of one trainer is charged."""
    return launch_bits(schedule.total_ticks)


def report_bits(report: RefusalReport) -> int:
    """Most bits that a job's provider is told by its report."""
    return 0 if report == "none" else _bits(CHOICES * len(LEARNED))


def _bits(choices: int) -> int:
    return math.ceil(math.log2(choices))
