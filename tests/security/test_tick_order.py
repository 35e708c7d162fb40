"""Promise: what leaves on a tick leaves before anything that came in is looked at (docs/traffic.md, "What happens at a
tick"). How long that takes hangs on what a job has learned.
"""

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from common.exchange.schedule import poll_ticks
from services.paramserver.running import JobRun
from services.trainer_enclave.running import TrainerRun
from tests.fakes.in_memory_job import make_schedule

SCHEDULE = make_schedule().model_copy(update={"checkpoint_ticks": 40})


class Noted(list[str]):
    """Words in the order in which they were said."""

    def say(self, word: str, value: Any = None) -> Any:
        def said(*_: Any, **__: Any) -> Any:
            self.append(word)
            return value

        return said


def run_of(kind: type[Any], noted: Noted, **fields: object) -> Any:
    run = object.__new__(kind)
    over = SimpleNamespace(wait=noted.say("settled", value=False), is_set=lambda: False)

    @contextlib.contextmanager
    def together(at: float) -> Iterator[None]:
        noted.append(f"at {at} [")
        yield
        noted.append("]")

    door = SimpleNamespace(notify=lambda name, _body: noted.append(name), together=together)
    for name, value in {"_schedule": SCHEDULE, "_over": over, "_door": door, **fields}.items():
        setattr(run, name, value)
    return run


def test_a_parameter_server_says_all_before_it_looks() -> None:
    noted, tick = Noted(), 80  # of a report, a question and a checkpoint
    job = SimpleNamespace(
        emit=lambda _: [b"", b""], process=noted.say("processed"), wants_list=lambda _: True,
        has_heard_unlisted=noted.say("unlisted", value=True), report=noted.say("reported"), progress=lambda _: None,
    )  # fmt: skip
    sealed = SimpleNamespace(encode=lambda: b"")
    rhythm: Any = SimpleNamespace(
        job=job, poll=SimpleNamespace(due=noted.say("question")), ends=SimpleNamespace(due=noted.say("end?")),
        checkpointing=SimpleNamespace(begin=noted.say("checkpoint")),
        readers=SimpleNamespace(seal=lambda *_: [sealed]),
    )  # fmt: skip
    opened = SimpleNamespace(job_id="job_" + 32 * "a")
    run = run_of(JobRun, noted, _opened=opened, _sequence=0, _reports_ahead=(-1, []))
    assert run._tick(rhythm, tick - 1, 4.0)
    assert noted[-4:] == ["processed", "unlisted", "question", "reported"]
    noted.clear()
    assert run._tick(rhythm, tick, 5.0)
    assert noted == [
        "at 5.0 [", "frame", "frame", "report", "]", "question", "end?", "checkpoint", "settled", "processed",
        "unlisted", "question",
    ]  # fmt: skip


def test_a_trainer_says_all_before_it_looks() -> None:
    noted = Noted()
    job: Any = SimpleNamespace(
        emit=lambda _: [b"", b""], process=noted.say("processed"), give_up=noted.say("given up"),
        exchange=SimpleNamespace(paramserver=None),
    )  # fmt: skip
    run = run_of(TrainerRun, noted, _poll=SimpleNamespace(due=noted.say("question")), _server=None)
    reads: Any = SimpleNamespace(failure="not_found.object", ready=None)
    clock: Any = SimpleNamespace(tick=noted.say("chunks"))
    assert run._tick(job, reads, clock, poll_ticks(SCHEDULE), 5.0)
    assert noted == ["at 5.0 [", "frame", "frame", "chunks", "]", "question", "settled", "given up", "processed"]
