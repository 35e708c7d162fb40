"""From a few wishes to a public schedule: how long the job runs and what the host will see of it (side: owner).

The schedule is signed before any work is done, so it is sized by simple public rules (ARCHITECTURE, decision 11): a
round has as many ticks as its steps and its transfers need, and slack comes on top. A schedule that was too tight ends
`finished_short`. What a job costs is the same whether it learns anything or not, so it can be told beforehand.
"""

from dataclasses import dataclass
from typing import Final

from common.data_shares import WINDOW_UNITS, Share
from common.dataset_units import UNIT_CHUNKS
from common.exchange.frames import FRAME_OVERHEAD, FrameKind
from common.exchange.payloads import FIGURES_BYTES
from common.exchange.schedule import TAKING_TICKS, ticks_to_send
from common.leakage import attempt_bits, schedule_bits
from common.messages.objects import BundlePublication
from common.messages.order import Schedule
from common.sealed_object import CHUNK_BYTES

STEP_MILLISECONDS: Final = 10
"""Assumed cost of one local step of a small model on a busy laptop core; `--step-ms` says otherwise."""

WARMUP_SECONDS: Final = 10
"""Enclave starts, quotes, sandbox and import of torch: 3 to 8 s where two trainers start at once on two cores."""

SMALLEST_FRAME: Final = 4 << 10
LARGEST_FRAME: Final = 256 << 10
"""ARCHITECTURE, decision 11: a clock of 256 KiB frames costs a few percent of a core."""

DESIGN_FRAME: Final = 16 << 10
"""Least frame of a job with a design, which then goes up in nine."""

DESIGN_SECONDS: Final = 3
"""Added to the warm-up for design code: it is asked, and its design goes up, before the first round."""

COMPILING_SECONDS: Final = 2
"""Added for each chunk of its sealed bundle: CPython's 25 take 11 to 15 s on quiet cores, which trainers share."""

CHECKPOINT_SECONDS: Final = 10
"""Between two checkpoints of a small model: so much of a job is lost at most when its parameter server dies."""

CHECKPOINT_BYTES_PER_SECOND: Final = 8 << 20
"""Those of a large one, of 8 bytes a value, come so seldom that the object store takes no more."""

QUANTISING_SECONDS: Final = 60
"""To judge int8 in: a sandbox starts (5 s on a busy machine), calibrates with 512 rows, and judges by up to 4,096, of
which a ResNet-20 takes 2 ms each, in float32."""

ROW_BYTES: Final = 4 << 10
"""Assumed size of a row, which nobody may see: an image of CIFAR-10 has 3 KiB."""

READING_SHARE: Final = 0.75
"""Of the warm-up: enclaves start before they read."""

MOST_READS: Final = 64
"""Chunks a second and trainer at most: what a quarter of a core fetches and opens."""

_MOST_IN_A_TICK: Final = 1024
"""What a `Schedule` can state."""

SHORTEST_TICK: Final = 100
LONGEST_TICK: Final = 1000
WORK_TICKS: Final = 16
"""A round that trainers work on while the one before is exchanged has time for the exchange, which takes about ten
ticks. More of them would cost processors and bits, and bring nothing."""

LATENCY_TICKS: Final = 3
"""A state is encoded, sent, and taken up on ticks of three different clocks."""

STATE_TICKS: Final = 2
"""That a small state takes, and each in lockstep, where trainers wait for it; a delta takes half of them."""

AHEAD_STATE_TICKS: Final = 5
"""That a large one takes while trainers go on: smaller frames cost less, and all of them are sent, full or not. An
exchange then takes two thirds of a round that is planned right, and all of one that is planned half too long."""

MOST_STATE_TICKS: Final = 8
"""That one takes which does not fit so many of the largest frames."""

CHEAP_FRAME: Final = 64 << 10
"""What costs little more than an empty one."""


@dataclass(frozen=True)
class ScheduleWishes:
    """What an owner says about a job; everything else follows from it and the bundle's public sizes.

    `tick_milliseconds`: None: a fraction of a round. `warmup_seconds`: before the first round; None: as long as such
    bundles take. `reads_per_tick`: chunks that each trainer reads; None: as the data's size asks for. `rounds_ahead`:
    whether trainers go on while a round is exchanged. `quantising_seconds`: in which int8 is judged, on top.
    """

    rounds: int = 20
    steps: int = 30
    batch: int = 64
    tick_milliseconds: int | None = None
    slack_percent: int = 150
    step_milliseconds: int = STEP_MILLISECONDS
    warmup_seconds: int | None = None
    reads_per_tick: int | None = None
    rounds_ahead: bool = True
    quantising_seconds: int = 0


def schedule_for(wishes: ScheduleWishes, publication: BundlePublication, share: Share | None = None) -> Schedule:
    """The schedule of a job that trains this bundle, each trainer on a share like this one; None: one chunk a tick."""
    chunks = publication.object.chunk_count if publication.sandbox == "wasm" else 0
    return plan_schedule(wishes, publication.state_class, chunks, share)


def plan_schedule(
    wishes: ScheduleWishes, state_class: int, design_chunks: int = 0, share: Share | None = None
) -> Schedule:
    """The schedule of a job whose state has `state_class` float32 values.

    `design_chunks`: of the sealed bundle, where that is design code. `share`: of a trainer; None: of one chunk a tick.
    """
    work_milliseconds, ahead = wishes.steps * wishes.step_milliseconds, wishes.rounds_ahead and not design_chunks
    tick = wishes.tick_milliseconds or (_tick_milliseconds(work_milliseconds) if ahead else SHORTEST_TICK)
    work = -(-work_milliseconds // tick)
    frame_bytes, warmup = _frame_bytes(state_class, ahead=ahead), WARMUP_SECONDS
    if design_chunks:
        frame_bytes = max(frame_bytes, DESIGN_FRAME)
        warmup += DESIGN_SECONDS + COMPILING_SECONDS * design_chunks
    warmup = warmup if wishes.warmup_seconds is None else wishes.warmup_seconds
    draft = Schedule(
        rounds=wishes.rounds,
        steps_per_round=wishes.steps,
        batch_rows=wishes.batch,
        tick_milliseconds=tick,
        ticks_per_round=1,
        slack_percent=wishes.slack_percent,
        warmup_ticks=-(-warmup * 1000 // tick),
        frames_per_tick=max(1, -(-4 * state_class // (MOST_STATE_TICKS * frame_bytes))),
        frame_bytes=frame_bytes,
        reads_per_tick=1,
        state_class=state_class,
        checkpoint_ticks=_checkpoint_ticks(state_class, tick),
        rounds_ahead=int(ahead),
    )
    kinds = (FrameKind.STATE, FrameKind.DELTA, *([FrameKind.STEERING] if design_chunks else []))
    exchange = sum(ticks_to_send(kind, draft) for kind in kinds) + LATENCY_TICKS
    ticks = max(work, exchange) + LATENCY_TICKS if ahead else work + exchange
    draft = draft.model_copy(update={"ticks_per_round": ticks, "quantising_ticks": _quantising_ticks(wishes, draft)})
    reads = wishes.reads_per_tick if share is None or wishes.reads_per_tick is not None else _reads(share, draft)
    return draft if reads is None else draft.model_copy(update={"reads_per_tick": reads})


def first_chunks(share: Share) -> int:
    """What is to be read before the first round: all of a share that is kept, or the first window of a larger one."""
    return share.chunks if share.kept else WINDOW_UNITS * UNIT_CHUNKS


def _reads(share: Share, draft: Schedule) -> int:
    """Chunks a tick, by public sizes alone: `MOST_READS` a second at most, one at least.

    In three quarters of the warm-up: all of a share that is kept, or the first window of a larger one. Of that, in the
    time of a round: the rows that a round trains on; and in the time of all rounds: all of it.
    """
    filling = max(1, int(READING_SHARE * draft.warmup_ticks))
    wanted = [-(-first_chunks(share) // filling)]
    if not share.kept:
        rows = draft.steps_per_round * draft.batch_rows * share.step
        wanted += [-(-rows * ROW_BYTES // (CHUNK_BYTES * draft.ticks_per_round))]
        wanted += [-(-share.chunks // (draft.rounds * draft.ticks_per_round))]
    most = MOST_READS * draft.tick_milliseconds // 1000
    return max(1, min(max(wanted), most, _MOST_IN_A_TICK))


def _quantising_ticks(wishes: ScheduleWishes, draft: Schedule) -> int:
    """The work's, and those in which the state goes down and what was found comes up."""
    if not wishes.quantising_seconds:
        return 0
    exchange = sum(ticks_to_send(kind, draft) for kind in (FrameKind.FINAL, FrameKind.QUANTISED)) + 2 * TAKING_TICKS
    return exchange + -(-wishes.quantising_seconds * 1000 // draft.tick_milliseconds)


def _checkpoint_ticks(state_class: int, tick_milliseconds: int) -> int:
    seconds = max(CHECKPOINT_SECONDS, -(-8 * state_class // CHECKPOINT_BYTES_PER_SECOND))
    return -(-seconds * 1000 // tick_milliseconds)


def _tick_milliseconds(work_milliseconds: int) -> int:
    return min(max(SHORTEST_TICK, work_milliseconds // WORK_TICKS), LONGEST_TICK)


def _frame_bytes(state_class: int, *, ahead: bool) -> int:
    """In whole `SMALLEST_FRAME`s."""
    whole, rest = 4 * state_class, 2 * FRAME_OVERHEAD + FIGURES_BYTES
    needed = -(-whole // STATE_TICKS) + rest
    if ahead and needed > CHEAP_FRAME:
        needed = max(CHEAP_FRAME, -(-whole // AHEAD_STATE_TICKS) + rest)
    return min(-(-needed // SMALLEST_FRAME) * SMALLEST_FRAME, LARGEST_FRAME)


@dataclass(frozen=True)
class HostView:
    """All that the host will see of a job's exchange: a function of the signed order. Bits are those of an attempt."""

    seconds: float
    frames: int
    traffic_bytes: int
    schedule_bits: int
    attempt_bits: int


def host_view(schedule: Schedule, trainers: int) -> HostView:
    """Every member, trainers and parameter server, sends `frames_per_tick` frames at every tick."""
    frames = (trainers + 1) * schedule.total_ticks * schedule.frames_per_tick
    return HostView(
        schedule.total_ticks * schedule.tick_seconds,
        frames,
        frames * schedule.frame_bytes,
        schedule_bits(schedule.total_ticks),
        attempt_bits(schedule),
    )
