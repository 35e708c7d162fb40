"""What must be the same in any two jobs of one schedule: sizes, counts, order of requests, words (side: host)."""

import itertools
import json
from typing import Any, Final

from bench.leak_raw import Asked, Frames, Heard, Raw
from common.door import Kind
from common.exchange.schedule import is_report_tick
from common.identifiers import JobId
from common.messages.broker_exchange import BrokerRequest
from common.messages.checkpoint import KeepCheckpoint
from common.messages.order import Schedule
from common.messages.training_door import JobEnded, SealedReport, TrainerEnded

LIST: Final = "list-members"
LISTS: Final = (LIST, "await-end")
"""A question that is under way stands for one that comes due, so their number is a matter of time. How long the answer
is says who is a member: the broker's list."""

KEEP: Final = "keep-checkpoint"
"""A checkpoint that is due while one before is on its way is left out, so their number is a matter of time, too."""

_NAMELESS: Final = ("time", "pid", "job_id", "seconds")
"""Fields of a log line that differ between any two jobs."""


def shape_of(
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
    passes = _is_whole_passes([leaf for _, leaf in chunks], raw.schedule.reads_per_tick, up)
    reports = [_report_bytes(one.body) for one in raw.server if one.name == "report"]
    model = _model_of(raw)
    due = sum(is_report_tick(tick, raw.schedule) for tick in down) + 1
    shape |= {
        "chunk requests beyond those of the ticks": max(0, len(chunks) - raw.schedule.reads_per_tick * len(up)),
        "chunks in whole passes": passes,
        "sizes of other reads": others,
        "report sizes": sorted(set(reports)),
        "reports beyond those of the ticks": len(reports) - due,
        "leaves of a checkpoint": sorted({tuple(len(one.body) for one in some) for some in checkpoints_of(raw)}),
        "words of a checkpoint": sorted({len(one.body) for one in raw.server if one.name == "checkpoint"}),
        "leaves of the model": [len(one.body) for one in model if one.name == "object.write"],
        "commits": sum(one.name == "object.commit" for one in model),
        "last words": _last_words(raw),
        "log lines": [_logged(one, raw.job_id) for one in (*raw.trainer, *raw.server) if one.kind is Kind.LOG],
    }
    kept = {id(one) for some in checkpoints_of(raw) for one in some}
    for who, heard in (("trainer", raw.trainer), ("server", raw.server)):
        requests = [_request(one) for one in heard if id(one) not in kept]
        shape[f"requests of the {who}, in order"] = [name for name in requests if name is not None]
    for who, asked in raw.asked.items():
        lists = sorted({len(one.request) for one in asked if one.kind in LISTS})
        shape[f"lists that the {who} asks for"] = lists
        shape[f"checkpoints that the {who} tells of"] = sorted(
            {_checkpoint_bytes(one.request) for one in asked if one.kind == KEEP}
        )
        clocked = (*LISTS, KEEP)
        others_asked = [(one.kind, len(one.request), one.answer_bytes) for one in asked if one.kind not in clocked]
        shape[f"other questions of the {who}"] = others_asked
    return shape


def _stored(raw: Raw) -> list[list[Heard]]:
    """What was said to store each object: leaves, and the word that it is whole. In the order in which they began."""
    found: dict[bytes, list[Heard]] = {}
    for one in raw.server:
        if one.name in ("object.write", "object.commit"):
            found.setdefault(one.body[:32], []).append(one)
    return list(found.values())


def checkpoints_of(raw: Raw) -> list[list[Heard]]:
    """The same of checkpoints, one of which may be under way when the schedule ends."""
    return _stored(raw)[:-1]


def _model_of(raw: Raw) -> list[Heard]:
    """The same of the model, which is stored last."""
    return [one for some in _stored(raw)[-1:] for one in some]


def question(one: Heard) -> str | None:
    """What the broker is asked, if it is."""
    asks = one.kind is Kind.REQUEST and one.name == "broker.ask"
    return Asked(one.body, 0).kind if asks else None


def _request(one: Heard) -> str | None:
    """What is asked for, but for what comes on the clock."""
    if one.kind is not Kind.REQUEST:
        return None
    if (kind := question(one)) is not None:
        return None if kind in (*LISTS, KEEP) else kind
    if one.name == "object.read" and int.from_bytes(one.body[32:36], "big"):
        return None
    return one.name


def _report_bytes(body: bytes) -> int:
    """Without the digits of its number: a tick that was left out has no report."""
    return len(body) - len(str(SealedReport.decode(body).sequence))


def _checkpoint_bytes(request: bytes) -> int:
    """Without the digits of its tick."""
    body = BrokerRequest.decode(request).body
    return len(request) - (len(str(body.checkpoint.tick)) if isinstance(body, KeepCheckpoint) else 0)


def _is_whole_passes(leaves: list[int], per_tick: int, up: Frames) -> bool:
    """Whether no chunk comes twice in a pass; passes are counted from tick 0. Not told where a tick was left out."""
    if not leaves or len(leaves) != per_tick * len(up) or len(up) != max(up) + 1 - min(up):
        return True
    count, begun = len(set(leaves)), per_tick * min(up)
    ends = [0, *range(-begun % count, len(leaves), count), len(leaves)]
    pieces = [leaves[begin:end] for begin, end in itertools.pairwise(ends)]
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


def unscheduled(shape: dict[str, Any], schedule: Schedule) -> list[str]:
    """What differs from what the public schedule says of every job."""
    last = schedule.total_ticks - 1
    expected: dict[str, Any] = {
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
