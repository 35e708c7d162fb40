"""Rows of rounds over data that are larger than what is kept: a function of seed, slot and round, each row in turn."""

from collections import Counter

import numpy as np
import pytest

from common.data_shares import WINDOW_UNITS
from common.errors import FormatError, UnavailableError
from services.trainer_enclave.reading import ChunkReads
from services.trainer_enclave.window_rows import WindowRows
from tests.fakes.sealed_rows import CHUNK_BYTES, WIDTH, WINDOWED, SealedRows, numbered, read_tick

LARGE = (5000, 1000)
ROUNDS = 60


@pytest.fixture(scope="module")
def large() -> SealedRows:
    return SealedRows(LARGE)


def due(number: int) -> int:
    return WINDOWED["warmup_ticks"] + number * WINDOWED["ticks_per_round"]


def trained(
    data: SealedRows, *, first_tick: int = 0, late: int = 0, rows_per_round: int = 64, slot: int = 0, trainers: int = 2
) -> dict[int, dict[str, np.ndarray]]:
    """All rounds of a launch that joins at `first_tick` and whose rounds begin `late` ticks after they are due."""
    reads = data.reads(slot, trainers, **WINDOWED)
    rows, told, number = data.rows(reads, rows_per_round, slot), dict[int, dict[str, np.ndarray]](), 0
    for tick in range(first_tick, due(ROUNDS) + max(0, late)):
        read_tick(reads, tick)
        while number < ROUNDS and due(number) + late <= tick:
            if reads.ready(number):
                told[number] = rows.of_round(number)
            number += 1
    return told


def alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_rows_are_whole_and_of_all_parts(large: SealedRows) -> None:
    parts = set()
    for rows in trained(large).values():
        assert rows["x"].shape == (64, WIDTH)
        assert rows["x"].dtype == np.float32
        assert (rows["x"][:, 0] == rows["y"]).all()
        assert (rows["x"][:, 2] == rows["y"]).all()
        parts |= set(rows["x"][:, 1].tolist())
    assert parts == {0.0, 1.0}


def test_rounds_that_are_on_time_have_rows_of_seed_slot_and_number_alone(large: SealedRows) -> None:
    """Early by what reads lead, late by what is kept: still on time. So is a launch that joined after the beginning."""
    told = trained(large)
    assert len(told) == ROUNDS
    for early, late in ((0, -14), (0, 14), (20, 0)):
        other = trained(large, first_tick=early, late=late)
        assert len(other) == ROUNDS
        assert all(alike(told[number], rows) for number, rows in other.items()), (early, late)
    joined = trained(large, first_tick=150)
    assert 0 < len(joined) < ROUNDS
    assert min(joined) > 20
    assert all(alike(told[number], rows) for number, rows in joined.items())


def test_other_slots_and_rounds_have_other_rows(large: SealedRows) -> None:
    told, other = trained(large), trained(large, slot=1)
    assert not alike(told[0], told[1])
    rows = [{(part, row) for one in two.values() for part, row in zip(one["x"][:, 1], one["y"], strict=True)}
            for two in (told, other)]  # fmt: skip
    assert not rows[0] & rows[1]


def test_late_rounds_train_on_what_is_there(large: SealedRows) -> None:
    told, late = trained(large), trained(large, late=60)
    assert len(late) == ROUNDS
    assert not alike(told[30], late[30])
    for rows in late.values():
        assert (rows["x"][:, 0] == rows["y"]).all()


def one_part() -> tuple[SealedRows, int]:
    """Full units but for the last, and the rows of each."""
    data = SealedRows((5440,))
    reads = data.reads(**WINDOWED)
    return data, data.tables(reads).unit_rows(0)


def test_each_row_has_its_turn() -> None:
    """Where as many rows are trained on as are read, those of a unit come once while it is in the windows."""
    data, unit_rows = one_part()
    told = trained(data, rows_per_round=3 * unit_rows, trainers=1)
    counts = Counter(int(row) for rows in told.values() for row in rows["y"])
    assert sum(counts.values()) == ROUNDS * 3 * unit_rows
    reads = data.reads(trainers=1, **WINDOWED)
    first, last = (reads.windows.of_round(number) for number in (0, ROUNDS - 1))
    places = [reads.walk.at(8 * place)[1] for place in range(last.stop)]
    whole = Counter(places[first.stop : last.start])
    once = [one for one, count in whole.items() if count == 1 and places.count(one) == 1 and one.number < 140]
    assert len(once) > 30
    for unit in once:
        turns = Counter(counts[unit.number * unit_rows + row] for row in range(unit_rows))
        assert turns[1] >= 0.8 * unit_rows, turns
        total = sum(turn * count for turn, count in turns.items())
        assert total == pytest.approx(unit_rows, rel=0.2), "padding leaves its turns to others"


def test_fast_training_takes_all_rows_of_a_window_alike() -> None:
    data, unit_rows = one_part()
    told = trained(data, rows_per_round=WINDOW_UNITS * unit_rows * 3, trainers=1)
    counts = Counter(told[0]["y"].tolist())
    assert min(counts.values()) == 3
    assert Counter(counts.values())[3] > 0.5 * len(counts), "padding leaves its turns to others"
    assert len(counts) > 25 * unit_rows


def test_few_units_for_many_trainers_are_sifted() -> None:
    data = SealedRows((2700,))
    slots = [trained(data, slot=slot, trainers=40) for slot in (0, 1)]
    rows = [{int(row) for one in two.values() for row in one["y"]} for two in slots]
    assert rows[0]
    assert rows[1]
    assert not rows[0] & rows[1]


def test_no_window_no_rows(large: SealedRows) -> None:
    reads = large.reads(**WINDOWED)
    with pytest.raises(UnavailableError):
        large.rows(reads).of_round(0)


def refused(data: SealedRows) -> None:
    reads: ChunkReads = data.reads(trainers=1, **WINDOWED)
    for tick in range(100):
        read_tick(reads, tick)
    assert reads.failure is None
    rows: WindowRows = data.rows(reads)
    with pytest.raises(FormatError, match=r"format\.dataset"):
        rows.of_round(0)


def test_large_data_that_are_not_in_units_are_refused_by_name() -> None:
    data = SealedRows((10,))
    data.references = [data.add(numbered(4000), unit_bytes=4 * CHUNK_BYTES)]
    refused(data)


def test_parts_with_other_columns_are_refused() -> None:
    data = SealedRows((3000, 10))
    data.references[1] = data.add({"x": np.zeros((3000, WIDTH)), "y": np.zeros(3000, np.int64)})
    refused(data)


def test_a_window_without_rows_is_refused() -> None:
    """Padding alone, for most of it."""
    data = SealedRows((3000,))
    reads = data.reads(trainers=1, **WINDOWED)
    for tick in range(100):
        read_tick(reads, tick)
    rows = data.rows(reads)
    rows._tables.of_unit = lambda _: {}  # type: ignore[method-assign, assignment]
    with pytest.raises(FormatError, match=r"format\.dataset"):
        rows.of_round(0)


def test_what_is_held_out_is_never_trained_on(large: SealedRows) -> None:
    """Over all rounds, and what int8 is judged by at their end."""
    reads = large.reads(0, 2, **WINDOWED)
    rows, learned, number = large.rows(reads, slot=0, held_out=20), set[tuple[float, int]](), 0
    for tick in range(due(ROUNDS)):
        read_tick(reads, tick)
        while number < ROUNDS and due(number) <= tick and reads.ready(number):
            told = rows.of_round(number)
            learned |= set(zip(told["x"][:, 1].tolist(), told["y"].tolist(), strict=True))
            number += 1
    assert number == ROUNDS
    split = rows.split((100, 300))
    names = list(zip(split.rows["x"][:, 1].tolist(), split.rows["y"].tolist(), strict=True))
    assert (split.calibrating, len(names)) == (100, 400)
    assert len(set(names[100:])) == 300
    assert learned.isdisjoint(names[100:])
    assert (split.rows["x"][:, 0] == split.rows["y"]).all()
