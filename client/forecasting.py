"""What a job will take, told from its order's public part alone (side: owner).

Seconds add up: start + work + exchange + slack + int8 = the whole schedule. Bytes are those that the host carries. All
of it is spent whatever the job comes to, so a forecast is exact but for what the machines are late.
"""

from dataclasses import dataclass
from typing import Final

from client import events as e
from client.scheduling import LATENCY_TICKS, host_view
from common.data_shares import Share
from common.exchange.frames import FRAME_OVERHEAD, FrameKind
from common.exchange.schedule import is_report_tick, part_count, report_bytes, ticks_to_send
from common.messages.order import SandboxName, Schedule
from common.sealed_object import CHUNK_BYTES

SANDBOX_SHARE: Final = 0.03
"""BENCHMARKS.md, `native_overhead`: its bar, over the same code without a sandbox."""


@dataclass(frozen=True)
class Forecast:
    """Where time and frames of a schedule go.

    `work_seconds`: of rounds; where trainers go on meanwhile, an exchange's if that takes longer. `needed_frames`:
    those that are filled if nothing is sent twice.
    """

    start_seconds: float
    work_seconds: float
    exchange_seconds: float
    slack_seconds: float
    quantising_seconds: float
    frames: int
    needed_frames: int
    traffic_bytes: int
    read_bytes: int
    reports: int

    @property
    def seconds(self) -> float:
        """The whole schedule."""
        learning = self.start_seconds + self.work_seconds + self.exchange_seconds + self.slack_seconds
        return learning + self.quantising_seconds


def forecast(
    schedule: Schedule, trainers: int, sandbox: SandboxName = "native", share: Share | None = None
) -> Forecast:
    """Of a job with so many trainers, each on a `share` like this; None: on one that is read until the job ends.

    `sandbox` says whether its states go out behind a design's losses.
    """
    tick, rounds = schedule.tick_seconds, schedule.rounds
    down = (FrameKind.STATE, *((FrameKind.STEERING,) if sandbox == "wasm" else ()))
    sent = sum(ticks_to_send(kind, schedule) for kind in (*down, FrameKind.DELTA))
    exchange = min(sent + LATENCY_TICKS, schedule.ticks_per_round)
    waiting, exchanges = (LATENCY_TICKS, 1) if schedule.rounds_ahead else (exchange, rounds)
    work = max(0, schedule.ticks_per_round - waiting)
    left = schedule.learning_ticks - schedule.warmup_ticks - rounds * work
    exchanging = min(exchanges * exchange, left)
    downs = sum(part_count(kind, schedule) for kind in down)
    document = FrameKind.DESIGN if sandbox == "wasm" else FrameKind.GRAPH
    ups = sum(part_count(kind, schedule) for kind in (FrameKind.STATE, document))
    ups += rounds * part_count(FrameKind.DELTA, schedule)
    view = host_view(schedule, trainers)
    return Forecast(
        start_seconds=schedule.warmup_ticks * tick,
        work_seconds=rounds * work * tick,
        exchange_seconds=exchanging * tick,
        slack_seconds=(left - exchanging) * tick,
        quantising_seconds=schedule.quantising_ticks * tick,
        frames=view.frames,
        needed_frames=min(view.frames, (rounds + 1) * downs + trainers * ups),
        traffic_bytes=view.traffic_bytes,
        read_bytes=trainers * _chunks_read(schedule, share) * CHUNK_BYTES,
        reports=sum(is_report_tick(one, schedule) for one in range(schedule.total_ticks)) + 1,
    )


def _chunks_read(schedule: Schedule, share: Share | None) -> int:
    """Of one trainer that is launched once."""
    by_the_clock = schedule.total_ticks * schedule.reads_per_tick
    return by_the_clock if share is None or not share.kept else min(share.chunks, by_the_clock)


def forecast_event(
    schedule: Schedule, trainers: int, sandbox: SandboxName = "native", share: Share | None = None
) -> e.JobForecast:
    """The forecast with what each protection costs."""
    known = forecast(schedule, trainers, sandbox, share)
    return e.JobForecast(
        schedule=schedule,
        trainers=trainers,
        seconds=known.seconds,
        work_seconds=known.work_seconds,
        traffic_bytes=known.traffic_bytes,
        read_bytes=known.read_bytes,
        costs=tuple(_costs(known, schedule, trainers, kept=share is not None and share.kept)),
    )


def _costs(known: Forecast, schedule: Schedule, trainers: int, *, kept: bool) -> list[e.ProtectionCost]:
    dummies = known.frames - known.needed_frames
    int8 = e.ProtectionCost(
        protection="int8",
        seconds=known.quantising_seconds,
        bytes=0,
        words="calibrated and judged on the clock, whatever comes of it",
    )
    return [
        *([int8] if known.quantising_seconds else []),
        e.ProtectionCost(
            protection="start",
            seconds=known.start_seconds,
            bytes=0,
            words="warm-up: sandboxes start, data are read; enclaves prove themselves before the first tick",
        ),
        e.ProtectionCost(
            protection="exchange on a clock",
            seconds=known.exchange_seconds,
            bytes=known.frames * FRAME_OVERHEAD,
            words="a round's state and deltas leave on ticks; each frame is sealed"
            + ("; trainers go on meanwhile" if schedule.rounds_ahead else ""),
        ),
        e.ProtectionCost(
            protection="one rate",
            seconds=0.0,
            bytes=dummies * schedule.frame_bytes,
            words=f"about {dummies:,} of {known.frames:,} frames are dummies",
        ),
        e.ProtectionCost(
            protection="one length",
            seconds=known.slack_seconds,
            bytes=0,
            words="slack: the job goes on to its last tick, however soon its rounds are done",
        ),
        e.ProtectionCost(
            protection="reads on a clock",
            seconds=0.0,
            bytes=known.read_bytes,
            words=f"{schedule.reads_per_tick} chunks of data at each tick of each trainer"
            + (", until all of them were read" if kept else ", also when all are there"),
        ),
        e.ProtectionCost(
            protection="sandbox",
            seconds=SANDBOX_SHARE * known.work_seconds,
            bytes=0,
            words=f"{SANDBOX_SHARE:.0%} of the work at most, by the benchmark's bar; in the work's time already",
        ),
        e.ProtectionCost(
            protection="sealed reports",
            seconds=0.0,
            bytes=known.reports * report_bytes(trainers),
            words=f"{known.reports} reports of one size to each owner",
        ),
    ]
