"""The walk and its windows: pass after pass over a share, a function of seed, slot and public numbers."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from common.crypto.keys import SecretKey
from common.data_shares import LEAD_UNITS, WINDOW_UNITS, Share, Unit, share_of
from services.trainer_enclave.walking import Walk, Windows
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.sealed_rows import SEED, WINDOWED

LARGE = share_of([2000, 333], 0, 2)


def walked(walk: Walk, positions: range) -> list[tuple[int, Unit, int]]:
    return [walk.at(position) for position in positions]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 150), min_size=1, max_size=4), st.integers(1, 3))
def test_each_pass_reads_every_chunk_once_unit_by_unit(chunk_counts: list[int], trainers: int) -> None:
    share = share_of(chunk_counts, 0, trainers)
    walk, places = Walk(share, SEED, 0), []
    for number in range(2):
        seen = walked(walk, range(number * share.chunks, (number + 1) * share.chunks))
        assert {(u.part, u.first_chunk + c) for _, u, c in seen} == {
            (u.part, u.first_chunk + c) for u in share.units for c in range(u.chunks)
        }
        for place, group in itertools.groupby(seen, lambda one: one[0]):
            chunks = [(unit, chunk) for _, unit, chunk in group]
            assert [chunk for _, chunk in chunks] == list(range(chunks[0][0].chunks))
            assert walk.pass_of(place) == number
            places.append(place)
    assert places == list(range(2 * len(share.units)))


def test_units_are_counted_where_they_end() -> None:
    walk = Walk(LARGE, SEED, 0)
    for positions in (0, 1, 7, 8, 1000, LARGE.chunks, 3 * LARGE.chunks + 17):
        done = [p for p in range(positions) if walk.at(p)[2] == walk.at(p)[1].chunks - 1]
        assert walk.units_within(positions) == len(done)


def test_the_walk_depends_on_seed_slot_and_pass_alone() -> None:
    def first(seed: SecretKey, slot: int) -> list[tuple[int, Unit, int]]:
        return walked(Walk(LARGE, seed, slot), range(400))

    assert first(SEED, 1) == first(SecretKey(bytes(range(32))), 1)
    assert first(SEED, 1) != first(SEED, 2)
    assert first(SEED, 1) != first(SecretKey.generate(), 1)
    walk = Walk(LARGE, SEED, 1)
    later = walked(walk, range(LARGE.chunks, LARGE.chunks + 400))
    assert [(u, c) for _, u, c in later] != [(u, c) for _, u, c in first(SEED, 1)]
    assert walked(walk, range(400)) == first(SEED, 1)  # in whatever order it is asked


def test_a_window_is_read_before_its_round_is_due_and_moves_with_the_clock() -> None:
    schedule = make_schedule(**WINDOWED)
    walk = Walk(LARGE, SEED, 0)
    windows = Windows(schedule, walk)
    told = [windows.of_round(number) for number in range(schedule.rounds)]
    assert all(len(one) == WINDOW_UNITS for one in told)
    assert all(a.start <= b.start for a, b in itertools.pairwise(told))
    for number, window in enumerate(told):
        due = (schedule.warmup_ticks + number * schedule.ticks_per_round) * schedule.reads_per_tick
        assert window.stop <= walk.units_within(due)
        assert window.stop + LEAD_UNITS >= walk.units_within(due)
    assert told[0].start >= walk.units_within(schedule.warmup_ticks // 4 * schedule.reads_per_tick)
    moved = told[-1].start - told[0].start
    assert np.isclose(moved, 59 * 3, atol=2)  # a unit a tick


def test_slow_reads_hold_the_first_window() -> None:
    """Rounds train on it again and again rather than wait for what is not planned to be there."""
    windows = Windows(make_schedule(**WINDOWED | {"reads_per_tick": 1}), Walk(LARGE, SEED, 0))
    assert len({windows.of_round(number) for number in range(60)}) == 1


def test_the_first_round_of_a_place_is_the_first_that_has_it() -> None:
    schedule = make_schedule(**WINDOWED)
    windows = Windows(schedule, Walk(LARGE, SEED, 0))
    for place in (0, 32, 63, 64, 65, 100, 200):
        number = windows.first_round(place)
        assert windows.of_round(number).stop > place
        assert number == 0 or windows.of_round(number - 1).stop <= place
    assert windows.first_round(10**6) == schedule.rounds


def test_one_unit_is_a_walk_too() -> None:
    walk = Walk(Share((Unit(0, 0, 3),), whole=True, step=1), SEED, 0)
    assert [walk.at(position)[0::2] for position in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
