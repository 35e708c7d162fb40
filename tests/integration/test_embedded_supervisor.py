"""The supervisor with small real services: order, restarts, and that nothing outlives it."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ConflictError, UnavailableError
from deploy.embedded.processes import descendants_of, start_times
from deploy.embedded.service_run import MAX_FAILURES
from deploy.embedded.specification import CODE_ROOT
from deploy.embedded.stack import EmbeddedStack
from deploy.embedded.status import StackStatus
from tests.integration.conftest import MakeStack
from tests.integration.embedded_tables import SHORT_PAUSES


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def members(stack: EmbeddedStack) -> dict[int, int]:
    status = stack.status()
    assert status.guardian_pid is not None
    return start_times([status.guardian_pid, *descendants_of(status.guardian_pid)])


def alive(processes: dict[int, int]) -> dict[int, int]:
    return {pid: at for pid, at in start_times(processes).items() if processes[pid] == at}


def events(stack: EmbeddedStack) -> list[dict[str, object]]:
    return [json.loads(line) for line in stack.state.log_file("supervisor").read_text().splitlines()]


def test_services_start_in_the_order_of_their_needs_and_say_what_they_wait_for(make_stack: MakeStack) -> None:
    stack, seen = make_stack("chain"), list[StackStatus]()
    stack.start()
    ready = stack.wait_ready(seen.append)
    assert [service.name for service in ready.services] == ["second", "first"]
    assert any(status.waiting.get("second") == ("first",) for status in seen)
    assert any(status.waiting.get("first") == ("patience",) for status in seen)
    at = {service.name: service.ready_since for service in ready.services}
    assert at["first"] is not None
    assert at["second"] is not None
    assert at["first"] < at["second"]


def test_everything_below_the_state_directory_is_private(make_stack: MakeStack) -> None:
    stack = make_stack("chain")
    stack.start()
    stack.wait_ready()
    for path in (stack.state.root, *stack.state.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_stop_leaves_nothing_and_clean_removes_the_directory(make_stack: MakeStack) -> None:
    stack = make_stack("daemons")
    stack.start()
    stack.wait_ready()
    before = members(stack)
    assert len(before) == 5  # guardian, supervisor, service, two daemons
    with pytest.raises(ConflictError, match=r"conflict\.stack_up"):
        stack.clean()
    assert stack.stop()
    assert alive(before) == {}
    assert stack.status().state == "down"
    assert not stack.stop()
    assert stack.clean()
    assert not stack.state.root.exists()
    assert not stack.clean()


@pytest.mark.parametrize("victim", ["supervisor", "guardian", "both"])
def test_killed_with_sigkill_nothing_is_left(make_stack: MakeStack, victim: str) -> None:
    stack = make_stack("chain" if victim == "both" else "daemons")
    stack.start()
    status = stack.wait_ready()
    before = members(stack)
    assert status.guardian_pid is not None
    assert status.supervisor_pid is not None
    if victim in ("guardian", "both"):
        os.kill(status.guardian_pid, signal.SIGKILL)
    if victim in ("supervisor", "both"):
        os.kill(status.supervisor_pid, signal.SIGKILL)
    wait_for(lambda: not alive(before) and stack.status().state == "down")
    stack.stop()  # collects the guardian, which is this process's child


def test_a_service_that_dies_is_started_again(make_stack: MakeStack) -> None:
    stack = make_stack("chain")
    stack.start()
    first = {service.name: service.pid for service in stack.wait_ready().services}["first"]
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: any(s.name == "first" and s.restarts == 1 and s.ready for s in stack.status().services))
    exited = [event for event in events(stack) if event["event"] == "service_exited"]
    assert [(event["service"], event["pid"], event["signal"]) for event in exited] == [("first", first, "SIGKILL")]


def test_a_service_that_comes_up_is_started_again_however_often_it_dies(make_stack: MakeStack) -> None:
    """Never ready for long between its ends: whoever is killed again and again has no defect."""
    stack = make_stack("chain")
    stack.start()
    stack.wait_ready()
    for restarts in range(1, MAX_FAILURES + 2):
        first = next(service.pid for service in stack.status().services if service.name == "first")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: any(s.name == "first" and s.restarts == restarts and s.ready for s in stack.status().services))  # noqa: B023 - asked at once


def test_what_a_dead_service_leaves_behind_is_ended(make_stack: MakeStack) -> None:
    stack = make_stack("daemons")
    stack.start()
    service = stack.wait_ready().services[0].pid
    assert service is not None
    left_behind = {pid: at for pid, at in members(stack).items() if pid not in (service, *_owners(stack))}
    assert len(left_behind) == 2
    os.kill(service, signal.SIGKILL)
    wait_for(lambda: not alive(left_behind))
    assert stack.status().state in ("starting", "ready")


def test_a_service_that_always_ends_is_given_up(make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = make_stack("defective")
    stack.start()
    with pytest.raises(UnavailableError, match=r"unavailable\.stack") as refusal:
        stack.wait_ready(seconds=60)
    assert "broken" in str(refusal.value.seen)
    ends = [event for event in events(stack) if event["event"] == "service_exited"]
    assert [event["exit_status"] for event in ends] == [3] * 8
    begun = [float(str(event["time"])) for event in events(stack) if event["event"] == "service_launched"]
    ended = [float(str(event["time"])) for event in ends]
    pauses = [after - before for before, after in zip(ended, begun[1:], strict=False)]
    assert len(begun) == 8
    assert all(pause >= wanted for pause, wanted in zip(pauses, (*SHORT_PAUSES, *[SHORT_PAUSES[-1]] * 4), strict=True))


def test_a_table_that_refuses_ends_the_stack_with_a_word(make_stack: MakeStack) -> None:
    stack = make_stack("refusing")
    stack.start()
    with pytest.raises(UnavailableError):
        stack.wait_ready(seconds=20)
    assert "conflict.state_directory" in str(next(e for e in events(stack) if e["event"] == "stack_refused")["reason"])


def test_a_second_start_on_the_same_directory_is_refused(make_stack: MakeStack) -> None:
    stack, same = make_stack("chain"), make_stack("chain")
    stack.start()
    stack.wait_ready()
    with pytest.raises(ConflictError, match=r"conflict\.stack_up"):
        same.start()
    assert same.status() == stack.status()


def test_a_tied_stack_ends_with_the_program_that_started_it(make_stack: MakeStack) -> None:
    stack = make_stack("daemons")
    program = (
        "import pathlib, sys, time; from deploy.embedded.stack import EmbeddedStack;"
        "stack = EmbeddedStack(pathlib.Path(sys.argv[1]), sys.argv[2]); stack.start(tied=True); stack.wait_ready();"
        "print('up', flush=True); time.sleep(600)"
    )
    table = "tests.integration.embedded_tables:daemons"
    starter = subprocess.Popen(
        [sys.executable, "-P", "-c", program, str(stack.state.root), table],
        stdout=subprocess.PIPE,
        cwd=CODE_ROOT,
        env={**os.environ, "PYTHONPATH": str(CODE_ROOT)},
    )
    with starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        before = members(stack)
        starter.kill()
    wait_for(lambda: not alive(before) and stack.status().state == "down")


def test_a_tied_stack_that_was_untied_outlives_the_program_that_started_it(make_stack: MakeStack) -> None:
    stack = make_stack("chain")
    program = (
        "import pathlib, sys; from deploy.embedded.stack import EmbeddedStack;"
        "stack = EmbeddedStack(pathlib.Path(sys.argv[1]), sys.argv[2]); stack.start(tied=True); stack.wait_ready();"
        "stack.untie()"
    )
    command = [sys.executable, "-P", "-c", program, str(stack.state.root), "tests.integration.embedded_tables:chain"]
    subprocess.run(command, cwd=CODE_ROOT, env={**os.environ, "PYTHONPATH": str(CODE_ROOT)}, check=True)
    before = members(stack)
    time.sleep(0.5)  # a tied one would be stopping by now
    assert stack.status().state == "ready"
    assert stack.stop()
    assert alive(before) == {}


@pytest.mark.parametrize("tied", [False, True])
def test_a_stack_that_is_stopped_before_it_has_its_lock_does_not_start(make_stack: MakeStack, *, tied: bool) -> None:
    stack = make_stack("chain")
    stack.start(tied=tied)
    guardian = stack._guardian
    assert guardian is not None
    stack.stop()
    assert guardian.poll() is not None
    assert stack.status().state == "down"


def test_no_secret_of_the_caller_reaches_a_service(make_stack: MakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "do-not-pass-on")
    stack = make_stack("chain")
    stack.start()
    stack.wait_ready()
    for pid in members(stack):
        assert b"do-not-pass-on" not in Path(f"/proc/{pid}/environ").read_bytes()


def _owners(stack: EmbeddedStack) -> tuple[int | None, int | None]:
    status = stack.status()
    return status.guardian_pid, status.supervisor_pid
