"""Promise: a host that replays, reorders, forges, mixes or withholds frames gains nothing but delay.

The host of a running job attacks every frame that it carries; the model must be, bit for bit, the one that the same job
makes on an honest host, and every attack must be counted as refused.
"""

from collections.abc import Callable

import pytest

from common.crypto.keys import SecretKey
from common.exchange.frames import (
    FRAME_HEADER_BYTES,
    Endpoint,
    FrameBody,
    FrameClass,
    FrameHeader,
    FrameKind,
    FrameLink,
    FrameSealer,
)
from common.exchange.schedule import question_ticks
from tests.fakes.in_memory_job import ORDER, InMemoryJob, flip, make_schedule

Attack = Callable[["HostileJob", int, bytes], list[bytes]]


class HostileJob(InMemoryJob):
    """The host puts what `attack` makes of each uplink frame before the frame itself."""

    attack: Attack | None = None
    injected = 0

    def _carry(self, sender: int, tick: int, frame: bytes, to: list[Callable[[bytes], None]]) -> None:
        for extra in self.attack(self, sender, frame) if self.attack else []:
            self.injected += len(to)
            for receive in to:
                receive(extra)
        super()._carry(sender, tick, frame, to)


def replay_old(job: HostileJob, sender: int, _frame: bytes) -> list[bytes]:
    return [old for one, old in job.frames if one == sender][-3:]


def replay_to_the_other_direction(job: HostileJob, sender: int, _frame: bytes) -> list[bytes]:
    return [old for one, old in job.frames if (one == -1) != (sender == -1)][-2:]


def change_one_bit(job: HostileJob, _sender: int, frame: bytes) -> list[bytes]:
    return [flip(frame, len(job.frames) * step % len(frame)) for step in (1, 7, 61, 509)]


def move_in_time(_job: HostileJob, _sender: int, frame: bytes) -> list[bytes]:
    header = FrameHeader.parse(frame)
    later = FrameHeader(header.frame_class, header.sender, header.attempt, header.tick + 1, header.index)
    return [later.encode() + frame[FRAME_HEADER_BYTES:]]


def pose_as_another(job: HostileJob, sender: int, frame: bytes) -> list[bytes]:
    header = FrameHeader.parse(frame)
    other = FrameHeader(header.frame_class, 1 - max(sender, 0), header.attempt, header.tick, header.index)
    newer = FrameHeader(header.frame_class, header.sender, header.attempt + 1, header.tick, header.index)
    return [one.encode() + frame[FRAME_HEADER_BYTES:] for one in (other, newer)]


def cut_and_extend(_job: HostileJob, _sender: int, frame: bytes) -> list[bytes]:
    return [frame[:-1], frame + b"\0", frame[:FRAME_HEADER_BYTES], b"", b"\0" * len(frame)]


def seal_with_a_foreign_key(job: HostileJob, _sender: int, frame: bytes) -> list[bytes]:
    header, server = FrameHeader.parse(frame), job.server.context.own
    if header.frame_class == FrameClass.DOWNLINK:
        link = FrameLink.downlink(job.schedule, ORDER, server)
    else:
        link = FrameLink.uplink(job.schedule, ORDER, job.jobs[header.sender].exchange.own, server)
    body = FrameBody(FrameKind.STATE, 9, 0, 0, 2, b"\x41" * 100)
    return [FrameSealer(link, SecretKey.generate()).seal(header.tick, header.index, body)]


def from_another_job(job: HostileJob, sender: int, frame: bytes) -> list[bytes]:
    other = TWINS.setdefault(id(job), InMemoryJob(job.schedule))
    header = FrameHeader.parse(frame)
    if not other.frames:
        other.run()
    return [old for one, old in other.frames if one == sender and FrameHeader.parse(old) == header]


TWINS: dict[int, InMemoryJob] = {}
ATTACKS = [
    replay_old,
    replay_to_the_other_direction,
    change_one_bit,
    move_in_time,
    pose_as_another,
    cut_and_extend,
    seal_with_a_foreign_key,
    from_another_job,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_the_model_is_the_one_of_an_honest_host(attack: Attack) -> None:
    honest, attacked = InMemoryJob(make_schedule(rounds=3)), HostileJob(make_schedule(rounds=3))
    attacked.attack = attack
    honest.run()
    attacked.run()
    attacked.server.process(attacked.schedule.total_ticks)
    for job in attacked.jobs.values():
        job.exchange.listen()
    assert attacked.injected > 100
    refused = attacked.server.refused_frames + sum(job.exchange.refused_frames for job in attacked.jobs.values())
    assert refused == attacked.injected
    assert attacked.server.outcome() == honest.server.outcome() == "finished"
    assert honest.server.state_P is not None
    assert attacked.server.state_P is not None
    assert attacked.server.state_P.tobytes() == honest.server.state_P.tobytes()


def test_a_superseded_attempt_is_fenced_though_its_keys_are_genuine() -> None:
    job = InMemoryJob(make_schedule(rounds=3))
    job.run(last=12)
    clone = job.jobs[1]
    job.start_trainer(1, 2)
    job.run(12, 20)
    before = job.server.refused_frames
    frames = clone.emit(20)
    for frame in frames:
        job.server.receive(frame)
    job.step(20)
    assert job.server.refused_frames == before + len(frames)


def test_it_is_fenced_in_the_tick_after_its_successors_first_frame() -> None:
    job = InMemoryJob(make_schedule(rounds=3, tick_milliseconds=10))
    job.run(last=12)
    clone = job.jobs[1]
    job.start_trainer(1, 2)  # which nobody else has listed yet: their next list would be due later
    server = job.listed["paramserver", 0]
    job.jobs[1].follow(Endpoint(0, server.attempt, server.signing_public))
    assert all(tick % question_ticks(job.schedule) for tick in (12, 13))
    job.step(12)
    taken = job.server.members.live[1].endpoint.attempt
    job.step(13)
    assert (taken, job.server.members.live[1].endpoint.attempt) == (1, 2)
    before, frames = job.server.refused_frames, clone.emit(14)
    for frame in frames:
        job.server.receive(frame)
    job.server.process(14)
    assert job.server.refused_frames == before + len(frames)


def test_an_unlisted_launch_is_refused() -> None:
    job, other = InMemoryJob(make_schedule(), trainers=1), InMemoryJob(make_schedule(), trainers=3)
    other.job_key = job.job_key
    job.run(last=5)
    stranger = other.start_trainer(2, 1)
    stranger.follow(job.server.context.own)
    for frame in stranger.emit(5):
        job.server.receive(frame)
    before = job.server.refused_frames
    job.step(5)
    assert job.server.refused_frames == before + job.schedule.frames_per_tick
    assert set(job.server.members.live) == {0}


def test_a_flood_is_bounded_and_counted() -> None:
    job = InMemoryJob(make_schedule(), trainers=1)
    job.run(last=3)
    for _ in range(70_000):
        job.server.receive(b"x")
    job.step(3)
    honest_without_room = job.schedule.frames_per_tick
    assert job.server.refused_frames == 70_000 + honest_without_room
