"""The reference step takes a time; a machine that can't say it says nothing."""

import pytest

from common.reference_step import least_microseconds, reference_microseconds


def test_a_process_of_its_own_says_what_a_step_takes() -> None:
    told = reference_microseconds()
    assert told is not None
    assert 10 < told < 1_000_000
    assert 10 < least_microseconds(5) < 1_000_000


def test_a_machine_without_an_interpreter_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.reference_step.sys.executable", "/nowhere/python")
    assert reference_microseconds() is None
