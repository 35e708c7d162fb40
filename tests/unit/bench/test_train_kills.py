"""What counts as survived, and that a reference which learned nothing gives no figure."""

import pytest

from bench.kill_victims import VICTIMS as ALL_VICTIMS
from bench.train import missed
from bench.train_kills import VICTIMS, KilledJob, _figures
from common.exchange.toolchain import Toolchain


def job(accuracy: float | None, kills: int) -> KilledJob:
    return KilledJob(("one at 1.00 s",) * kills, "finished", 20, accuracy, 0)


def test_deaths_in_jobs_as_good_as_those_left_alone_are_survived() -> None:
    played = [job(0.985, 5), job(0.97, 3), job(None, 2)]
    figures = _figures(1, [job(0.992, 0), job(0.988, 0)], (job(0.99, 0), 30.0), played)
    assert (figures.kills, figures.kills_survived, figures.jobs) == (10, 5, 3)
    assert figures.partition_survived
    assert (figures.accuracy_worst, figures.accuracy_left_alone) == (0.0, 0.99)


def test_a_reference_that_learned_nothing_is_none() -> None:
    with pytest.raises(RuntimeError, match="too busy"):
        _figures(1, [job(0.99, 0), job(None, 0)], (job(0.9, 0), 30.0), [job(0.9, 1)])


@pytest.mark.parametrize(("reached", "seconds"), [(0.9, 30.0), (None, 30.0), (0.99, 0.0)])
def test_a_silence_that_cost_the_model_or_never_came_is_not_survived(reached: float | None, seconds: float) -> None:
    figures = _figures(1, [job(0.992, 0), job(0.988, 0)], (job(reached, 0), seconds), [job(0.99, 1)])
    assert (figures.kills_survived, figures.partition_survived) == (1, False)
    assert missed({"partition_survived": False}, Toolchain.FP32) == ["partition_survived"]


def test_one_death_too_many_misses_the_bar() -> None:
    assert missed({"kills": 50, "kills_survived": 50}, Toolchain.FP32) == []
    assert missed({"kills": 50, "kills_survived": 49}, Toolchain.FP32) == ["kills_survived"]


def test_victims_are_processes_of_a_stack() -> None:
    assert set(VICTIMS) <= ALL_VICTIMS.keys()
