"""Promise: provider code that trains learns nothing of the machine, and nothing that it does ends the enclave."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.sandbox.native import DEFAULT_LIMITS
from tests.security.sandbox.sandbox_parts import (
    LIMITS,
    HostileTrainer,
    confined,
    ending,
    hostile_bundle,
    hostile_trainer,
)


@pytest.fixture(scope="module")
def trainer() -> Iterator[HostileTrainer]:
    started = HostileTrainer(hostile_bundle())
    yield started
    started.sandbox.close()


def report(trainer: HostileTrainer, deed: str, argument: int = 0) -> list[float]:
    outcome = trainer.round(deed, argument)
    assert outcome.state_P is not None, outcome.code
    return [float(number) for number in outcome.state_P]


def test_nothing_is_printed(trainer: HostileTrainer, capfd: pytest.CaptureFixture[str]) -> None:
    assert report(trainer, "end", ending("print_data"))[0] == 1.0
    assert capfd.readouterr() == ("", "")


def test_scratch_space_is_bounded_in_bytes_and_files(trainer: HostileTrainer) -> None:
    written, files = report(trainer, "fill_scratch")[:2]
    assert 0 < written <= LIMITS.file_bytes
    assert 0 < files <= 4096


def test_nothing_of_the_bundle_shows_on_the_host(trainer: HostileTrainer) -> None:
    report(trainer, "echo", 1)
    for process in confined():
        public = [Path(f"/proc/{process.pid}/{name}") for name in ("cmdline", "environ", "mountinfo")]
        for path in public:
            assert not any(word in path.read_bytes() for word in (b"hostile", b"deed_names"))


def test_the_child_is_nobody_outside_too(trainer: HostileTrainer) -> None:
    expected_root = os.getuid() == 0
    for process in confined():
        status = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        uids = set(status["Uid"].split())
        assert uids.isdisjoint({"0"}) if expected_root else uids == {str(os.getuid())}
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapEff"], 16) == 0
        if process.name().startswith("python"):
            assert process.num_threads() == 1  # Landlock holds for the thread that asked, and those that it starts
            assert Path(f"/proc/{process.pid}/stat").stat().st_uid == 0  # proc(5): not dumpable, no core, no ptrace


def test_a_failure_stays_and_costs_no_time() -> None:
    with hostile_trainer() as trainer:
        code = trainer.round("end", ending("end_process")).code
        begin = time.monotonic()
        assert trainer.round("echo").code == code
        assert time.monotonic() - begin < 0.5


def test_memory_ends_at_the_limit_of_a_real_job_too() -> None:
    with hostile_trainer(DEFAULT_LIMITS) as trainer:
        assert trainer.round("eat_memory").code == "provider.raised"


@pytest.mark.parametrize("source", ["import nothing_like_this", "while True: pass"])
def test_a_bundle_that_does_not_import(source: str) -> None:
    with hostile_trainer(hostile=source) as trainer:
        outcome = trainer.round("echo", seconds=2.0)
    assert outcome.code == ("provider.timeout" if "while" in source else "provider.import")
