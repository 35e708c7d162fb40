"""The outer optimiser against figures worked out by hand, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.exchange.payloads import DeltaEncoder, Figures
from services.paramserver.aggregation import OuterOptimiser, mean_loss
from services.paramserver.schedule import RoundSchedule
from tests.fakes.in_memory_job import make_schedule


def delta(values: list[float], rows: int = 1, loss: float | None = None) -> bytes:
    return bytes(DeltaEncoder(len(values)).encode(np.array(values, np.float32), Figures(loss, 1, rows)))


def zeros(count: int = 2) -> np.ndarray:
    return np.zeros(count, np.float32)


def test_plain_averaging_is_weighted_by_rows() -> None:
    result = OuterOptimiser(2, 1.0, 0.0).close_round(zeros(), {0: delta([4, 8], 1, 2.0), 1: delta([0, 4], 3, 4.0)})
    assert result.state_P.tolist() == [1, 5]
    assert (result.loss, result.contributors, result.invalid) == (3.5, (0, 1), ())


def test_nesterov_momentum_as_torch_defines_it() -> None:
    optimiser, state_P, expected = OuterOptimiser(2, 0.5, 0.5), zeros(), []
    velocity, at = 0.0, 0.0
    for step in (4.0, -2.0, 8.0):
        velocity = 0.5 * velocity + step
        at += 0.5 * (step + 0.5 * velocity)
        expected.append(at)
    seen = []
    for step in (4.0, -2.0, 8.0):
        state_P = optimiser.close_round(state_P, {0: delta([step, step])}).state_P
        seen.append(float(state_P[0]))
    assert seen == expected == [3.0, 2.0, 8.0]


def test_buffers_are_averaged_whatever_rate_and_momentum_are() -> None:
    """A variance that falls to a half in a round, with momentum, would be negative in the next."""
    optimiser, state_P = OuterOptimiser(4, 0.7, 0.9), np.ones(4, np.float32)
    optimiser.average((slice(0, 1), slice(2, 3)))
    optimiser.average((slice(0, 1), slice(2, 3)))
    for step in (-0.5, -0.25, -0.125):
        state_P = optimiser.close_round(state_P, {0: delta([step] * 4)}).state_P
    assert state_P[[0, 2]].tolist() == [0.125, 0.125]
    assert (state_P[[1, 3]] < 0).all()
    assert optimiser.velocity_P[[0, 2]].tolist() == [-0.125, -0.125]


def test_without_buffers_nothing_changes() -> None:
    plain, told = OuterOptimiser(2, 0.5, 0.5), OuterOptimiser(2, 0.5, 0.5)
    told.average(())
    states = [one.close_round(zeros(), {0: delta([4, 8])}).state_P.tobytes() for one in (plain, told)]
    assert states[0] == states[1]
    told.average((slice(0, 1),))
    told.average(())
    states = [one.close_round(zeros(), {0: delta([4, 8])}).state_P.tobytes() for one in (plain, told)]
    assert states[0] == states[1], "the last word counts"


@given(st.permutations(range(5)))
def test_the_order_of_arrival_changes_nothing(order: list[int]) -> None:
    deltas = {slot: delta([0.1 * slot + 0.7, 1e-3 * slot], slot + 1) for slot in range(5)}
    first = OuterOptimiser(2, 1.0, 0.9).close_round(zeros(), deltas)
    second = OuterOptimiser(2, 1.0, 0.9).close_round(zeros(), {slot: deltas[slot] for slot in order})
    assert first.state_P.tobytes() == second.state_P.tobytes()


@pytest.mark.parametrize(
    "wrong", [b"", bytes(3), delta([1, 2], rows=0), b"\x80\x7f" * 2 + Figures(None, 1, 1).encode()]
)
def test_an_invalid_delta_is_left_out(wrong: bytes) -> None:
    result = OuterOptimiser(2, 1.0, 0.0).close_round(zeros(), {0: wrong, 1: delta([1, 2])})
    assert result.state_P.tolist() == [1, 2]
    assert (result.contributors, result.invalid) == ((1,), (0,))
    nothing = OuterOptimiser(2, 1.0, 0.0).close_round(zeros() + 3, {0: wrong})
    assert nothing.state_P.tolist() == [3, 3]
    assert (nothing.contributors, nothing.invalid) == ((), (0,))


def test_a_state_never_becomes_infinite() -> None:
    optimiser = OuterOptimiser(2, 10.0, 0.9)
    state_P = zeros() + np.float32(3e38)
    result = optimiser.close_round(state_P, {0: delta([1e38, 1e38])})
    assert result.state_P.tolist() == state_P.tolist()
    assert result.contributors == ()
    assert optimiser.close_round(zeros(), {0: delta([1, 1])}).state_P.tolist() == [19, 19]


def test_mean_loss() -> None:
    assert mean_loss([]) is None
    assert mean_loss([Figures(None, 1, 5), Figures(2.0, 1, 0)]) is None
    assert mean_loss([Figures(1.0, 1, 1), Figures(4.0, 1, 2), Figures(None, 1, 7)]) == 3.0


def test_a_round_closes_with_all_or_after_its_deadline() -> None:
    rounds = RoundSchedule(make_schedule())
    assert [rounds.open_round] == [None]
    assert not rounds.should_close(50, set(), {0})
    rounds.begin(2)
    assert [rounds.open_round] == [0]
    assert not rounds.should_close(3, {0, 1}, {0})
    assert rounds.should_close(3, {0, 1}, {0, 1})
    assert rounds.should_close(3, {0}, {0, 1})
    assert not rounds.should_close(100, {0, 1}, set())
    assert not rounds.should_close(6 + 15, {0, 1}, {0})
    assert rounds.should_close(6 + 16, {0, 1}, {0})
    for tick in range(6):
        rounds.close(22 + tick)
    assert rounds.all_done
    assert (rounds.open_round, rounds.rounds_done) == (6, 6), "the next one counts for nothing"
    rounds.close(99)
    assert (rounds.open_round, rounds.rounds_done) == (7, 6)


def test_a_round_stays_open_below_the_orders_minimum() -> None:
    rounds = RoundSchedule(make_schedule(), minimal_trainers=2)
    rounds.begin(2)
    assert not rounds.should_close(3, {0}, {0})
    assert not rounds.should_close(1000, {0, 1}, {0}), "whatever its deadline says"
    assert rounds.should_close(1000, {0, 1, 2}, {0, 2})


def test_fewer_valid_deltas_than_needed_move_nothing() -> None:
    optimiser, state_P = OuterOptimiser(2, 1.0, 0.9), zeros() + 3
    result = optimiser.close_round(state_P, {0: delta([1, 1]), 1: b""}, least=2)
    assert (result.state_P.tolist(), result.contributors, result.invalid) == ([3, 3], (), (1,))
    assert not optimiser.velocity_P.any()
    assert optimiser.close_round(state_P, {0: delta([1, 1]), 1: delta([1, 1])}, least=2).contributors == (0, 1)
