"""Promise: Ryoan's rules (Hunt et al., OSDI 2016) hold, one by one.

What tries to break each:

    1 no call reaches the outside once data is in     test_attack_table (network, processes, kernel);
                                                      tests/unit/common/sandbox/test_seccomp (all that stays open)
    2 output: a fixed function of public parameters   here; sealed answers: tests/security/test_query_promises
    3 run time quantised to the public schedule       here
    4 state wiped between units of work               here; test_attack_table (notes)
    5 randomness from the enclave alone               test_sandbox_query; test_attack_table (kernel);
                                                      test_native (equal seeds, equal rounds)
    6 nothing ends a job early                        here; with all services: tests/e2e/test_traffic_shape
    7 nothing changes what the host sees              here; with all services: tests/e2e/test_traffic_shape
"""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from common.leakage import RELEASE_TICKS
from common.sandbox.protocol import RoundOutcome, Rows, StateP
from common.sandboxed.wire import HEADER, PLAIN_COURSE, Course
from services.query_enclave.departures import Timing
from tests.fakes.in_memory_job import InMemoryJob, LeastSquares, make_schedule
from tests.security.sandbox.hostile_bundle.deed_names import NAMES
from tests.security.sandbox.sandbox_parts import SLOTS, HostileServer, HostileTrainer, ending, hostile_bundle

SHORT_SECONDS = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    started = HostileServer()
    yield started
    started.sandbox.close()


QUERY_DEEDS = [
    ("echo", 0), ("end", ending("flood_output")), ("end", ending("raise_error")), ("end", ending("end_process")),
    ("answer_of_other_size", 0), ("remember", 7),
]  # fmt: skip


# rule 2
@pytest.mark.parametrize(("deed", "argument"), QUERY_DEEDS)
def test_an_output_has_one_size_whatever_made_it(
    server: HostileServer, deed: str, argument: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, copy = [], server.sandbox._place._output.copy

    def watched(size: int) -> memoryview:
        sizes.append(size)
        return copy(size)

    monkeypatch.setattr(server.sandbox._place._output, "copy", watched)
    answer = server.query(deed, argument).answer_NA
    assert sizes == [HEADER.size + 4 * SLOTS]
    assert answer is None or answer.shape == (1, SLOTS)


# rule 3
@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.0999, 0.1001, 0.35, 4.999, 5.17])
def test_an_answer_leaves_at_a_tick(seconds: float) -> None:
    timing = Timing()
    ticks = timing.leaves_after(seconds) / timing.quantum_seconds
    assert ticks == pytest.approx(round(ticks))
    assert max(1, math.ceil(seconds / timing.quantum_seconds - 1e-6)) == round(ticks) <= RELEASE_TICKS


# rule 4
@pytest.mark.parametrize(("deed", "argument"), QUERY_DEEDS)
def test_windows_are_empty_after_every_query(server: HostileServer, deed: str, argument: int) -> None:
    server.query(deed, argument)
    place = server.sandbox._place
    for window in (place._input, place._output):
        assert not any(window.copy(window.size))


class HostileMember(LeastSquares):
    """Does one deed in its second round, in a sandbox."""

    def __init__(self, deed: str, argument: int) -> None:
        super().__init__()
        self._trainer, self._deed = HostileTrainer(hostile_bundle()), (NAMES.index(deed), argument)

    def initial_state(self, deadline_seconds: float) -> RoundOutcome:
        return self._trainer.sandbox.initial_state(deadline_seconds)

    def run_round(
        self,
        state_P: StateP,
        rows: Rows,  # noqa: ARG002
        steps: int,  # noqa: ARG002
        batch: int,  # noqa: ARG002
        deadline_seconds: float,
        course: Course = PLAIN_COURSE,  # noqa: ARG002
    ) -> RoundOutcome:
        """Of the schedule's steps one is done: what is looked at is the frames."""
        self.rounds += 1
        deed = self._deed if self.rounds == 2 else (NAMES.index("echo"), 1)
        asked = {"x": np.array([deed]), "y": np.array([0])}
        return self._trainer.sandbox.run_round(state_P, asked, 1, 1, min(deadline_seconds, SHORT_SECONDS))

    def close(self) -> None:
        self._trainer.sandbox.close()


def traffic(deed: str, argument: int) -> tuple[list[object], str]:
    """Every frame's direction, sender, attempt, tick, number and size; and what the owner reads of the job."""
    member = HostileMember(deed, argument)
    try:
        job = InMemoryJob(make_schedule(), trainers=1, sandboxes={0: member})
        job.run()
    finally:
        member.close()
    return list(job.trace), str(job.server.outcome())


# rules 6 and 7
def test_no_deed_changes_a_frame() -> None:
    honest, outcome = traffic("echo", 1)
    assert outcome == "finished"
    assert {frame[3] for frame in honest} == set(range(make_schedule().total_ticks))  # type: ignore[index]
    for deed in ("raise_error", "end_process", "loop"):
        hostile, outcome = traffic("end", ending(deed))
        assert hostile == honest
        assert outcome == "finished_short"
