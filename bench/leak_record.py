"""What a host has seen of one job, as sizes, counts and times (side: host).

T ticks of the schedule. Everything here is read off what came through the doors of trainer and parameter server, and
off /proc. Frames name their tick in the clear, so a host knows which was left out by a busy machine.

    shape      what must be the same to the byte in any two jobs of one schedule
    series     milliseconds [T] after the parameter server's first frame at which a thing was seen; NaN: it was not
    durations  milliseconds between events around the schedule, and how often members asked for lists
    usage      CPU time, memory and page faults of the two enclaves and of the sandbox: the open channels, kept apart
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_raw import Frames, Heard, Raw, frames_of
from bench.leak_shape import LIST, checkpoints_of, question, shape_of
from common.door import Kind
from common.identifiers import Digest
from common.messages.training_door import JOB_ID_BYTES

SERIES: Final = ("down", "down second", "up", "up second", "chunk", "question", "report", "checkpoint")
"""First and second frame of a tick from the parameter server and from the trainer; chunk request; the parameter
server's question who is a member; a report to the owner; a checkpoint's first leaf."""

_BUNDLE_LEAVES: Final = 2
"""A header and a chunk; data sets have more."""


@dataclass
class JobRecord:
    """One job. `secret`: 0 for the quiet side of its pair, 1 for the other; `pair`: number of the pair."""

    pair: int
    secret: int
    tick_ms: float
    shape: dict[str, Any]
    series: dict[str, NDArray[np.float64]]
    durations: dict[str, float]
    usage: dict[str, float]
    sandbox_cpu: NDArray[np.float64] = field(repr=False)


def record_of(raw: Raw, pair: int, secret: int) -> JobRecord:
    """Sort what was kept."""
    up, down = frames_of(raw.trainer), frames_of(raw.server, JOB_ID_BYTES)
    chunks, others = _reads(raw)
    return JobRecord(
        pair,
        secret,
        1000 * raw.schedule.tick_seconds,
        shape_of(raw, up, down, chunks, others),
        _series(raw, up, down, chunks),
        _durations(raw, up, down),
        {f"{who}_{name}": value for who, used in raw.usage.items() for name, value in used.items()},
        np.array(raw.sandbox_cpu),
    )


def _reads(raw: Raw) -> tuple[list[tuple[int, int]], list[int]]:
    """(nanoseconds, leaf) of chunk requests of the data set on the clock; sizes of all else that was read."""
    leaves = Counter(root for root, _ in raw.leaves)
    data_roots = {root for root, count in leaves.items() if count > _BUNDLE_LEAVES}
    chunks, others, ticking = [], [], False
    for one in raw.trainer:
        ticking |= one.name == "frame"
        if one.kind is Kind.REQUEST and one.name == "object.read":
            root, leaf = Digest.of(one.body[:32]), int.from_bytes(one.body[32:36], "big")
            if root in data_roots and leaf and ticking:
                chunks.append((one.at, leaf))
            else:
                others.append(len(raw.leaves[root, leaf]))
    return chunks, others


def _series(raw: Raw, up: Frames, down: Frames, chunks: list[tuple[int, int]]) -> dict[str, NDArray[np.float64]]:
    total, origin = raw.schedule.total_ticks, min((some[0][0] for some in down.values()), default=raw.began)
    series = {name: np.full(total, np.nan) for name in SERIES}

    def put(name: str, tick: int, at: int) -> None:
        series[name][tick] = (at - origin) / 1e6

    for way, seen in (("up", up), ("down", down)):
        for tick, some in seen.items():
            for name, one in zip((way, f"{way} second"), some, strict=False):
                put(name, tick, one[0])
    tick_ns = int(raw.schedule.tick_seconds * 1e9)
    for tick, at in _after([at for at, _ in chunks], up, tick_ns):
        put("chunk", tick, at)
    seen_after = {
        "question": [one.at for one in raw.server if question(one) == LIST],
        "report": [one.at for one in raw.server if one.name == "report"],
        "checkpoint": [some[0].at for some in checkpoints_of(raw)],
    }
    for name, times in seen_after.items():
        for tick, at in _after(times, down, tick_ns):
            put(name, tick, at)
    return series


def _after(times: Sequence[int], frames: Frames, tick: int) -> list[tuple[int, int]]:
    """Each time with the tick whose first frame came last before it; the first of a tick. What follows the last tick is
    not of the clock.
    """
    ticks = sorted(frames)
    begins = np.array([frames[tick][0][0] for tick in ticks])
    found: dict[int, int] = {}
    for at in times:
        place = int(np.searchsorted(begins, at)) - 1
        if place >= 0 and at < begins[-1] + tick:
            found.setdefault(ticks[place], at)
    return list(found.items())


def _durations(raw: Raw, up: Frames, down: Frames) -> dict[str, float]:
    def first(heard: Sequence[Heard], name: str) -> int | None:
        return next((one.at for one in heard if one.name == name), None)

    def last(heard: Sequence[Heard], name: str) -> int | None:
        return next((one.at for one in reversed(heard) if one.name == name), None)

    def after(heard: Sequence[Heard], at: int | None) -> int | None:
        return next((one.at for one in heard if one.name == "broker.ask" and at is not None and one.at > at), None)

    trainer, server = raw.trainer, raw.server
    last_up, last_down = last(trainer, "frame"), last(server, "frame")
    model = next((one.at for one in server if one.name == "object.write" and one.at > (last_down or 0)), None)
    last_word, ended = last(server, "job_ended"), last(trainer, "ended")
    pairs = {
        "start to the server's first frame": (raw.began, first(server, "frame")),
        "start to the trainer's first frame": (raw.began, first(trainer, "frame")),
        "the server's frames": (first(server, "frame"), last_down),
        "the trainer's frames": (first(trainer, "frame"), last_up),
        "the server's last frame to its next question": (last_down, after(server, last_down)),
        "the trainer's last frame to its next question": (last_up, after(trainer, last_up)),
        "the server's last frame to the model": (last_down, model),
        "model to the last report": (model, last(server, "report")),
        "model to the server's last word": (model, last_word),
        "the server's last frame to its last word": (last_down, last_word),
        "the server's to the trainer's last word": (last_word, ended),
        "the trainer's last question to its last word": (last(trainer, "broker.ask"), ended),
    }
    durations = {
        name: (until - since) / 1e6 if since is not None and until is not None else np.nan
        for name, (since, until) in pairs.items()
    }
    for way, seen in (("up", up), ("down", down)):
        durations[f"ticks left out {way}"] = float(max(seen, default=0) + 1 - min(seen, default=0) - len(seen))
        durations[f"first tick {way}"] = float(min(seen, default=-1))
    durations["chunk requests left out"] = float(raw.schedule.reads_per_tick * len(up) - len(_reads(raw)[0]))
    due = sum(raw.schedule.has_checkpoint(tick) for tick in down)
    durations["checkpoints left out"] = float(due - len(checkpoints_of(raw)))
    for who, asked in raw.asked.items():
        durations[f"questions of the {who}"] = float(sum(one.kind == LIST for one in asked))
    return durations
