"""How far apart trainers get that go on while a round is exchanged: a member off the others by some distance."""

import numpy as np
import pytest

from common.exchange import going_ahead
from common.exchange.going_ahead import next_start


def apart_after(rounds: int, response: float) -> float:
    """Two members, one apart; a round leaves `response` of how far a member is off the optimum."""
    state_P, starts = np.zeros(1, np.float32), [np.array([off], np.float32) for off in (1, -1)]
    for _ in range(rounds):
        changes = [(response - 1) * start_P for start_P in starts]
        starts = [next_start(state_P, start_P, change_P) for start_P, change_P in zip(starts, changes, strict=True)]
        state_P = state_P + np.mean(changes, axis=0, dtype=np.float32)
    assert np.abs(state_P).max() < 1e-6, "what they do to each other's mean is nothing"
    return float(abs(starts[0] - starts[1]).max())


@pytest.mark.parametrize("response", [1.0, 0.5, 0.0, -0.4])
def test_members_come_together_where_it_is_flat_and_where_it_is_steep(response: float) -> None:
    assert apart_after(20, response) < 0.5


def test_those_that_keep_nothing_of_their_distance_get_apart_where_it_is_steep(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those that keep all of it never come together: why it is half."""
    monkeypatch.setattr(going_ahead, "KEPT_SHARE", np.float32(0))
    assert apart_after(20, -0.4) > 100
    monkeypatch.setattr(going_ahead, "KEPT_SHARE", np.float32(1))
    assert apart_after(20, 1.0) == pytest.approx(2.0)


def test_one_that_stood_where_the_state_was_starts_from_it_and_its_own_change() -> None:
    state_P, change_P = np.array([1, 2], np.float32), np.array([0.5, -0.25], np.float32)
    np.testing.assert_array_equal(next_start(state_P, state_P, change_P), state_P + change_P)
