"""Promise: what the host sees of a job's exchange is a function of the order's public part.

Jobs whose insides differ in every way are compared by all that the host can see without keys: who sends when, how many
frames, their sizes, their clear bytes. Then the bodies: nothing of the state shows in them.
"""

import numpy as np
import pytest

from common.exchange.frames import FRAME_HEADER_BYTES
from common.sandbox.protocol import RoundOutcome, Rows, StateP
from common.sandboxed.wire import PLAIN_COURSE, Course
from tests.fakes.in_memory_job import FEATURES, DelayedExecutor, InMemoryJob, LeastSquares, make_schedule


def visible(job: InMemoryJob) -> list[tuple[int, bytes]]:
    """Length and clear bytes of every frame, in order."""
    return [(len(frame), frame[:FRAME_HEADER_BYTES]) for _, frame in job.frames]


def run(job: InMemoryJob) -> InMemoryJob:
    job.run()
    return job


class Marked(LeastSquares):
    """Writes a marker into every parameter."""

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,
        steps: int,
        batch: int,
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,
    ) -> RoundOutcome:
        outcome = super().run_round(np.zeros_like(state_P), rows, steps, batch, deadline_seconds, course)
        return RoundOutcome(np.full(FEATURES, MARKER, np.float32), outcome.metrics)


MARKER = np.float32(1232.0)
"""Exact in bfloat16 (0x449a), so the state holds it to the bit."""


@pytest.fixture(scope="module")
def ordinary() -> InMemoryJob:
    return run(InMemoryJob(make_schedule()))


@pytest.mark.parametrize("code", ["provider.import", "provider.timeout", "provider.killed", "provider.output"])
@pytest.mark.parametrize("fails_in", [0, 1, 4])
def test_failing_provider_code(ordinary: InMemoryJob, code: str, fails_in: int) -> None:
    sandboxes = {0: LeastSquares(fails_in=fails_in, code=code)}
    assert visible(run(InMemoryJob(make_schedule(), sandboxes=sandboxes))) == visible(ordinary)


def test_slow_provider_code(ordinary: InMemoryJob) -> None:
    assert visible(run(InMemoryJob(make_schedule(), executors={0: DelayedExecutor()}))) == visible(ordinary)


def test_other_learning(ordinary: InMemoryJob) -> None:
    assert visible(run(InMemoryJob(make_schedule(), learning_rate=0.1, momentum=0.9))) == visible(ordinary)


def test_lost_and_repeated_frames_inside(ordinary: InMemoryJob) -> None:
    lossy = run(InMemoryJob(make_schedule(), drop=lambda sender, tick: sender == 0 and 7 <= tick < 30))
    assert visible(lossy) == visible(ordinary)


def test_no_value_of_the_state_shows_in_a_frame() -> None:
    job = run(InMemoryJob(make_schedule(), sandboxes={slot: Marked() for slot in (0, 1)}))
    carried = b"".join(frame for _, frame in job.frames)
    needle = np.full(2, MARKER, np.float32).tobytes()
    assert job.server.state_P is not None
    assert needle in job.server.state_P.tobytes()
    for form in (needle, needle[2:4] * 4, b"\0" * 16):
        assert form not in carried


def test_equal_bodies_never_give_equal_frames(ordinary: InMemoryJob) -> None:
    bodies = [frame[FRAME_HEADER_BYTES:] for _, frame in ordinary.frames]
    assert len(set(bodies)) == len(bodies)
    ones = sum(byte.bit_count() for body in bodies for byte in body) / (8 * sum(map(len, bodies)))
    assert abs(ones - 0.5) < 0.005
