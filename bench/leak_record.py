"""What a host has seen of one job, as sizes, counts and times (side: host).

T ticks of the schedule. Everything here is read off what came through the doors of trainer and parameter server, and
off /proc. Frames name their tick in the clear, so a host knows which was left out by a busy machine.

    shape      what must be the same to the byte in any two jobs of one schedule
    series     milliseconds [T] after the parameter server's first frame at which a thing was seen; NaN: it was not
    durations  milliseconds between events around the schedule, and how often members asked for lists
    usage      CPU time, memory and page faults of the two enclaves and of the sandbox: the open channels, kept apart
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_world import Leaves
from common.door import Kind
from common.exchange.frames import FrameHeader
from common.exchange.schedule import is_report_tick
from common.identifiers import Digest, JobId
from common.messages.attestation import BrokerRequest
from common.messages.order import Schedule
from common.messages.training_door import JOB_ID_BYTES, JobEnded, SealedReport, TrainerEnded

SERIES: Final = ("down", "down second", "up", "up second", "chunk", "question", "report")
"""First and second frame of a tick from the parameter server and from the trainer; chunk request; the parameter
server's question to the broker; a report to the owner."""

USAGE: Final = ("cpu_ms", "resident_mb", "minor_faults", "major_faults")

LIST: Final = "list-members"
"""A question that is under way stands for one that comes due, so their number is a matter of time. How long the answer
is says who is a member: the broker's list."""

_NAMELESS: Final = ("time", "pid", "job_id", "seconds")
"""Fields of a log line that differ between any two jobs."""


@dataclass(frozen=True)
class Heard:
    """One message of an enclave: nanoseconds of the monotonic clock, kind, name, body without the name."""

    at: int
    kind: Kind
    name: str
    body: bytes

    @classmethod
    def of(cls, at: int, kind: int, body: bytes) -> "Heard":
        """As it came through the door."""
        if kind in (Kind.REQUEST, Kind.NOTICE):
            end = 1 + body[0]
            return cls(at, Kind(kind), body[1:end].decode("ascii"), body[end:])
        return cls(at, Kind(kind), "", body)


@dataclass(frozen=True)
class Asked:
    """One question to the broker: its bytes, and how long the answer was."""

    request: bytes
    answer_bytes: int

    @property
    def kind(self) -> str:
        """What is asked."""
        return str(BrokerRequest.decode(self.request).body.type)


@dataclass(frozen=True)
class Raw:
    """All that a host kept of one job."""

    job_id: JobId
    schedule: Schedule
    leaves: Leaves
    began: int
    trainer: Sequence[Heard]
    server: Sequence[Heard]
    asked: dict[str, list[Asked]]
    usage: dict[str, dict[str, float]]
    sandbox_cpu: Sequence[float]


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


Frames = dict[int, list[tuple[int, int, int]]]
"""Of each tick: (nanoseconds, index, bytes) of its frames, in the order in which they came."""


def frames_of(heard: Iterable[Heard], skip: int = 0) -> Frames:
    """Frames among notices; `skip` bytes stand before each."""
    found: Frames = {}
    for one in heard:
        if one.kind is Kind.NOTICE and one.name == "frame":
            header = FrameHeader.parse(one.body[skip:])
            found.setdefault(header.tick, []).append((one.at, header.index, len(one.body) - skip))
    return found


def record_of(raw: Raw, pair: int, secret: int) -> JobRecord:
    """Sort what was kept."""
    up, down = frames_of(raw.trainer), frames_of(raw.server, JOB_ID_BYTES)
    chunks, others = _reads(raw)
    return JobRecord(
        pair,
        secret,
        1000 * raw.schedule.tick_seconds,
        _shape(raw, up, down, chunks, others),
        _series(raw, up, down, chunks),
        _durations(raw, up, down),
        {f"{who}_{name}": value for who, used in raw.usage.items() for name, value in used.items()},
        np.array(raw.sandbox_cpu),
    )


def _reads(raw: Raw) -> tuple[list[tuple[int, int]], list[int]]:
    """(nanoseconds, leaf) of chunk requests of the data set; sizes of all else that was read."""
    largest = max(Counter(root for root, _ in raw.leaves).items(), key=lambda one: one[1])[0]
    data_roots = {root for root, count in Counter(root for root, _ in raw.leaves).items() if count > 3} or {largest}
    chunks, others = [], []
    for one in raw.trainer:
        if one.kind is Kind.REQUEST and one.name == "object.read":
            root, leaf = Digest.of(one.body[:32]), int.from_bytes(one.body[32:36], "big")
            if root in data_roots and leaf:
                chunks.append((one.at, leaf))
            else:
                others.append(len(raw.leaves[root, leaf]))
    return chunks, others


def _shape(
    raw: Raw, up: Frames, down: Frames, chunks: list[tuple[int, int]], others: list[int]
) -> dict[str, Any]:  # fmt: skip
    shape: dict[str, Any] = {}
    for way, seen in (("up", up), ("down", down)):
        order = [(tick, index) for tick, some in seen.items() for _, index, _ in some]
        shape |= {
            f"frame sizes {way}": sorted({size for some in seen.values() for _, _, size in some}),
            f"frames of a tick {way}": sorted({len(some) for some in seen.values()}),
            f"order of frames {way}": order == sorted(order),
            f"last tick {way}": max(seen, default=-1),
        }
    passes = _is_whole_passes([leaf for _, leaf in chunks])
    reports = [_report_bytes(one.body) for one in raw.server if one.name == "report"]
    due = sum(is_report_tick(tick, raw.schedule) for tick in down) + 1
    shape |= {
        "first tick down": min(down, default=-1),
        "chunk requests beyond those of the ticks": max(0, len(chunks) - raw.schedule.reads_per_tick * len(up)),
        "chunks in whole passes": passes,
        "sizes of other reads": others,
        "report sizes": sorted(set(reports)),
        "reports beyond those of the ticks": len(reports) - due,
        "leaves of the model": [len(one.body) for one in raw.server if one.name == "object.write"],
        "commits": sum(one.name == "object.commit" for one in raw.server),
        "last words": _last_words(raw),
        "log lines": [_logged(one, raw.job_id) for one in (*raw.trainer, *raw.server) if one.kind is Kind.LOG],
    }
    for who, heard in (("trainer", raw.trainer), ("server", raw.server)):
        shape[f"requests of the {who}, in order"] = [name for name in map(_request, heard) if name is not None]
    for who, asked in raw.asked.items():
        lists = sorted({len(one.request) for one in asked if one.kind == LIST})
        shape[f"lists that the {who} asks for"] = lists
        others_asked = [(one.kind, len(one.request), one.answer_bytes) for one in asked if one.kind != LIST]
        shape[f"other questions of the {who}"] = others_asked
    return shape


def _request(one: Heard) -> str | None:
    """What is asked for, but for what comes on the clock."""
    if one.kind is not Kind.REQUEST:
        return None
    if one.name == "broker.ask":
        kind = Asked(one.body, 0).kind
        return None if kind == LIST else kind
    if one.name == "object.read" and int.from_bytes(one.body[32:36], "big"):
        return None
    return one.name


def _report_bytes(body: bytes) -> int:
    """Without the digits of its number: a tick that was left out has no report."""
    return len(body) - len(str(SealedReport.decode(body).sequence))


def _is_whole_passes(leaves: list[int]) -> bool:
    """Whether no chunk comes twice before all were there."""
    count = len(set(leaves))
    pieces = [leaves[begin : begin + count] for begin in range(0, len(leaves), count or 1)]
    return all(len(set(one)) == len(one) for one in pieces)


def _last_words(raw: Raw) -> list[Any]:
    words: list[Any] = []
    for one in (*raw.trainer, *raw.server):
        if one.name == "ended":
            words.append((len(one.body), TrainerEnded.decode(one.body).code))
        elif one.name == "job_ended":
            ended = JobEnded.decode(one.body)
            words.append((len(one.body), ended.outcome, ended.completed, ended.code))
    return words


def _logged(one: Heard, job_id: JobId) -> str:
    told = json.loads(one.body)
    return json.dumps({name: value for name, value in told.items() if name not in _NAMELESS}).replace(job_id, "")


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
    for name, wanted in (("question", "broker.ask"), ("report", "report")):
        times = [one.at for one in raw.server if one.name == wanted]
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
    model, last_word, ended = first(server, "object.write"), last(server, "job_ended"), last(trainer, "ended")
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
    durations["first tick up"] = float(min(up, default=-1))
    durations["chunk requests left out"] = float(raw.schedule.reads_per_tick * len(up) - len(_reads(raw)[0]))
    for who, asked in raw.asked.items():
        durations[f"questions of the {who}"] = float(len(asked))
    return durations


def unscheduled(shape: dict[str, Any], schedule: Schedule) -> list[str]:
    """What differs from what the public schedule says of every job."""
    last = schedule.total_ticks - 1
    expected: dict[str, Any] = {
        "first tick down": 0,
        "chunk requests beyond those of the ticks": 0,
        "chunks in whole passes": True,
        "reports beyond those of the ticks": 0,
        "commits": 1,
    }
    for way in ("up", "down"):
        expected |= {
            f"frame sizes {way}": [schedule.frame_bytes],
            f"frames of a tick {way}": [schedule.frames_per_tick],
            f"order of frames {way}": True,
            f"last tick {way}": last,
        }
    return [f"{name}: {shape[name]}, not {value}" for name, value in expected.items() if shape[name] != value]
