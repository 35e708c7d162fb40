"""A stack is idle when every job has ended."""

import json
from pathlib import Path

import pytest

from common.errors import UnavailableError
from common.identifiers import JobId, PartyKey
from common.untrusted.job_board import JobBoard, NewJob
from deploy.embedded.idleness import jobs_under_way, until_idle
from deploy.embedded.state import StateDirectory, write_private


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.prepare()
    url = f"sqlite:///{made.folder('registry')}/registry.sqlite"
    write_private(made.settings / "ingest.json", json.dumps({"database_url": url}).encode())
    return made


def test_jobs_are_waited_for_until_they_have_ended(state: StateDirectory) -> None:
    board = JobBoard.open(f"sqlite:///{state.root}/registry/registry.sqlite")
    names = [JobId(f"job_{number:032x}") for number in range(2)]
    for name in names:
        board.submit(NewJob(name, b"order", [PartyKey("a1" * 32)], 1, 2_000_000_000, "simulation"))
    paused = list[float]()

    def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) > 1 and names:
            board.cancel(names.pop())

    assert list(until_idle(state, pause)) == [2, 1, 0]
    assert len(paused) == 3
    assert jobs_under_way(state) == 0


def test_a_stack_that_was_never_up_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="unavailable.registry"):
        jobs_under_way(StateDirectory(tmp_path))
