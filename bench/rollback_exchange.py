"""Frames and member lists from earlier or from elsewhere, at parameter server and trainers (side: owner)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bench.rollback_tally import Tally
from common.exchange.frames import Endpoint
from common.messages.jobs import Members
from tests.fakes.in_memory_job import InMemoryJob, make_schedule

TICKS: Final = 4
"""From one replay to the next."""

ROUNDS: Final = 3


def frames(_: Path, length: int) -> Tally:
    """Every frame of the job so far, to everybody, `length` times; then all of another job; the model is that of a job
    to which nobody did anything.
    """
    tally, schedule = Tally(), make_schedule(rounds=ROUNDS)
    job, other, undisturbed = (InMemoryJob(schedule) for _ in range(3))
    other.run()
    undisturbed.run()
    job.run(last=TICKS)
    for number in range(1, length + 1):
        _flood(tally, job, [frame for _, frame in job.frames], f"frames before tick {number * TICKS}")
        job.run(number * TICKS, (number + 1) * TICKS)
    _flood(tally, job, [frame for _, frame in other.frames], "frames of another job")
    job.run((length + 1) * TICKS)
    require_same_model(job, undisturbed)
    return tally


def fenced(_: Path, length: int) -> Tally:
    """`length` times a trainer and the parameter server are superseded: what the old ones go on to send, under genuine
    keys and for ticks that are still to come, and the member lists from before.
    """
    tally, job = Tally(), InMemoryJob(make_schedule(rounds=ROUNDS))
    job.run(last=TICKS)
    for number in range(1, length + 1):
        tick, lists = number * TICKS, job.members()
        old_trainer, old_server = job.jobs[1], job.server
        job.start_trainer(1, number + 1)
        job.start_server(number + 1)
        job.run(tick, tick + TICKS)
        late = [frame for one in range(tick, tick + 2 * TICKS) for frame in old_trainer.emit(one)]
        _flood(tally, job, late, f"frames of trainer 1, attempt {number}")
        late = [frame for one in range(tick, tick + 2 * TICKS) for frame in old_server.emit(one)]
        _flood(tally, job, late, f"frames of parameter server {number}")
        _list_again(tally, job, lists, f"member list {number}")
    job.run((length + 1) * TICKS)
    if job.server.outcome() != "finished":
        raise RuntimeError("the job did not go on")
    return tally


def _flood(tally: Tally, job: InMemoryJob, old: Iterable[bytes], what: str) -> None:
    """Give these to parameter server and trainers, and let each look at them."""
    shown = list(old)
    for frame in shown:
        job.server.receive(frame)
        for trainer in job.jobs.values():
            trainer.exchange.receive(frame)
    before = refused_frames(job)
    job.server.process(0)
    for trainer in job.jobs.values():
        trainer.exchange.listen()
    tally.counted(what, len(shown) * (1 + len(job.jobs)), refused_frames(job) - before)


def refused_frames(job: InMemoryJob) -> int:
    """How many frames everybody in a job has refused."""
    return job.server.refused_frames + sum(one.exchange.refused_frames for one in job.jobs.values())


def _list_again(tally: Tally, job: InMemoryJob, older: Members, what: str) -> None:
    """A list to a launch that is in it, in the place of the newest: nobody takes a step back."""
    (server,) = (one for one in older.members if one.role == "paramserver")
    trainers = older.model_copy(update={"members": tuple(one for one in older.members if one != server)})
    tally.unmoved(f"{what}, to the parameter server", lambda: _live(job), _take, job, trainers)
    for slot, trainer in job.jobs.items():
        endpoint = Endpoint(0, server.attempt, server.signing_public)
        tally.unmoved(f"{what}, to trainer {slot}", lambda: _followed(job), trainer.follow, endpoint)


def _take(job: InMemoryJob, members: Members) -> None:
    job.server.admit(members, 0)
    job.server.process(0)


def _followed(job: InMemoryJob) -> list[Endpoint | None]:
    return [trainer.exchange.paramserver for trainer in job.jobs.values()]


def _live(job: InMemoryJob) -> dict[int, Endpoint]:
    return {slot: member.endpoint for slot, member in job.server.members.live.items()}


def require_same_model(job: InMemoryJob, undisturbed: InMemoryJob) -> None:
    """Nothing that was replayed is in the model. Raises `RuntimeError`."""
    mine, theirs = job.server.state_P, undisturbed.server.state_P
    if mine is None or theirs is None or mine.tobytes() != theirs.tobytes():
        raise RuntimeError("the model is not the one of an honest host")
