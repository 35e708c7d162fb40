"""Arithmetic of a job's clock and traffic: functions of the order's public Schedule alone (side: library).

ARCHITECTURE, decisions 10 and 11. Nothing here takes a value that depends on data, so nothing that is derived from it
can leak.
"""

from typing import Final

from common.exchange.frames import FrameKind, part_bytes
from common.exchange.payloads import FIGURES_BYTES
from common.exchange.quantised import QUANTISED_BYTES
from common.exchange.steering import DESIGN_BYTES, STEERING_BYTES
from common.messages.order import Schedule

POLL_MILLISECONDS: Final = 1000
"""How often a trainer lists the members: soon enough to follow a new parameter server, rare enough to cost nothing."""

QUESTION_MILLISECONDS: Final = 100
"""How often a parameter server asks the broker at most. No round closes without an answer, so none should wait."""

QUESTIONS_PER_ROUND: Final = 8
"""In long rounds it asks as rarely as this, but not more rarely than trainers list members."""

PATIENCE_MILLISECONDS: Final = 2000
"""Queues lose frames when they restart: what is not confirmed for this long, and for a round's ticks, is sent again."""


TAKING_TICKS: Final = 3
"""Between work that is done and its first frame, and from its last frame to where it is taken."""

QUANTISING_SLOT: Final = 0
"""Who calibrates and judges int8: one slot, with its share of the rows, so that one sandbox more is all it takes."""

REPORT_BYTES: Final = 2048
"""Of a report to an owner before it is wrapped: room for every field at its longest, and for `REPORTED_SLOTS`."""

REPORTED_SLOTS: Final = 16
REPORT_SLOT_BYTES: Final = 40
"""For each slot more: the longest code in quotes, a count of ten digits, and commas."""


def _ticks(milliseconds: int, schedule: Schedule) -> int:
    return -(-milliseconds // schedule.tick_milliseconds)


def payload_bytes(kind: FrameKind, schedule: Schedule) -> int:
    """Length of a payload: float32 state, bfloat16 delta with figures, figures alone; the rest does not vary."""
    match kind:
        case FrameKind.STATE | FrameKind.FINAL:
            return 4 * schedule.state_class
        case FrameKind.DELTA:
            return 2 * schedule.state_class + FIGURES_BYTES
        case FrameKind.NOTE:
            return FIGURES_BYTES
        case FrameKind.DESIGN | FrameKind.GRAPH:
            return DESIGN_BYTES
        case FrameKind.STEERING:
            return STEERING_BYTES
        case FrameKind.QUANTISED:
            return QUANTISED_BYTES
        case FrameKind.DUMMY:
            return 0


def part_count(kind: FrameKind, schedule: Schedule) -> int:
    """Frames that a payload takes."""
    return -(-payload_bytes(kind, schedule) // part_bytes(schedule))


def ticks_to_send(kind: FrameKind, schedule: Schedule) -> int:
    """Ticks that a payload takes."""
    return -(-part_count(kind, schedule) // schedule.frames_per_tick)


def round_deadline_ticks(schedule: Schedule) -> int:
    """D: a round that at least one member delivered closes after so many ticks."""
    return -(-schedule.ticks_per_round * schedule.slack_percent // 100)


def round_deadline_seconds(schedule: Schedule) -> float:
    """What provider code may take for a round: D ticks."""
    return round_deadline_ticks(schedule) * schedule.tick_seconds


def poll_ticks(schedule: Schedule) -> int:
    """Every so many ticks a trainer lists the job's members."""
    return _ticks(POLL_MILLISECONDS, schedule)


def question_ticks(schedule: Schedule) -> int:
    """Every so many ticks the parameter server does, whatever its rounds do: a host must not see when they close."""
    usual = min(schedule.ticks_per_round // QUESTIONS_PER_ROUND, poll_ticks(schedule))
    return max(_ticks(QUESTION_MILLISECONDS, schedule), usual)


def rounds_per_answer(schedule: Schedule) -> int:
    """So many rounds may close after one answer of the broker: those that fit between two questions, one at least.

    An answer is to a nonce of this enclave's own. A host that holds the clock or keeps answers back stops the rounds.
    """
    return -(-question_ticks(schedule) // schedule.ticks_per_round)


def patience_ticks(schedule: Schedule) -> int:
    """Ticks after which an unconfirmed payload is sent again; never within the time that a round usually takes."""
    return max(schedule.ticks_per_round, _ticks(PATIENCE_MILLISECONDS, schedule))


def quantising_seconds(tick: int, schedule: Schedule) -> float | None:
    """What slot 0 may take from this tick on, so that what it finds still comes; None where nothing is left."""
    last = schedule.total_ticks - ticks_to_send(FrameKind.QUANTISED, schedule) - TAKING_TICKS
    return (last - tick) * schedule.tick_seconds if last > tick >= schedule.learning_ticks else None


def is_report_tick(tick: int, schedule: Schedule) -> bool:
    """Whether the parameter server seals a report to each owner at this tick: once a round's time."""
    return tick > 0 and tick % schedule.ticks_per_round == 0


def report_bytes(trainers: int) -> int:
    """Length of each report of a job with so many trainers."""
    return REPORT_BYTES + REPORT_SLOT_BYTES * max(0, trainers - REPORTED_SLOTS)
