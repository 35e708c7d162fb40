"""Sharding and the rows of a round."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.crypto.keys import SecretKey
from common.errors import ConfinementError, FormatError
from common.messages.order import TrainingOrder
from services.trainer_enclave.dataset import Columns, RoundRows, held_out, require_alike, restrict_columns, shard_rows
from services.trainer_enclave.running import require_sound
from tests.fakes.in_memory_job import make_schedule
from tests.fakes.training_world import TrainingWorld

SEED = SecretKey(bytes(range(32)))


def rows_of(count: int, slot: int = 0, trainers: int = 2, rows_per_round: int = 6) -> RoundRows:
    columns: Columns = {"x": np.arange(count * 3, dtype=np.float32).reshape(count, 3), "y": np.arange(count)}
    return RoundRows([columns], SEED, slot, trainers, rows_per_round)


@given(st.integers(1, 200), st.integers(1, 9))
def test_shards_part_all_rows(count: int, trainers: int) -> None:
    shards = [shard_rows(count, slot, trainers) for slot in range(min(trainers, count))]
    assert sorted(np.concatenate(shards).tolist()) == list(range(count))


def test_a_slot_without_rows_of_its_own_takes_all() -> None:
    assert shard_rows(2, 5, 8).tolist() == [0, 1]


@given(st.integers(1, 50), st.integers(1, 40), st.integers(0, 1))
def test_every_epoch_takes_each_row_once(count: int, rows_per_round: int, slot: int) -> None:
    rows = rows_of(count, slot, 2, rows_per_round)
    shard = shard_rows(count, slot, 2)
    rounds = -(-3 * shard.size // rows_per_round)
    walk = np.concatenate([rows.indices(number) for number in range(rounds)])
    for epoch in range(3):
        assert sorted(walk[epoch * shard.size : (epoch + 1) * shard.size]) == sorted(shard)


def test_rows_depend_on_seed_slot_and_round_alone() -> None:
    forward, late = rows_of(40), rows_of(40)
    told = [forward.of_round(number) for number in range(9)]
    for name in ("x", "y"):
        assert (late.of_round(8)[name] == told[8][name]).all()
    assert told[0]["x"].shape == (6, 3)
    assert (told[0]["x"][:, 0] == told[0]["y"] * 3).all()
    other = RoundRows(forward.tables, SecretKey.generate(), 0, 2, 20)
    assert other.indices(0).tolist() != rows_of(40, rows_per_round=20).indices(0).tolist()


@given(st.lists(st.integers(1, 39), max_size=4), st.integers(0, 3))
def test_how_rows_lie_in_tables_changes_nothing(cuts: list[int], number: int) -> None:
    whole = rows_of(40)
    edges = [0, *sorted(set(cuts)), 40]
    tables = [{name: one[a:b] for name, one in whole.tables[0].items()} for a, b in itertools.pairwise(edges)]
    told = RoundRows(tables, SEED, 0, 2, 6).of_round(number)
    for name, column in whole.of_round(number).items():
        assert told[name].tobytes() == column.tobytes()
        assert told[name].dtype == column.dtype


def test_what_was_dealt_to_a_slot_is_its_own() -> None:
    rows = RoundRows(rows_of(10).tables, SEED, 3, 1, 10)
    assert sorted(rows.indices(0)) == list(range(10))
    assert rows.indices(0).tolist() != RoundRows(rows.tables, SEED, 2, 1, 10).indices(0).tolist()


def test_tables_follow_one_another_only_with_equal_columns() -> None:
    first, second = {"x": np.zeros((2, 3), np.float32)}, {"x": np.ones((1, 3), np.float32)}
    require_alike(first, second)
    for wrong in ({"x": np.zeros((2, 4), np.float32)}, {"x": np.zeros((2, 3))}, {"z": np.zeros((2, 3), np.float32)}):
        with pytest.raises(FormatError):
            require_alike(first, wrong)


def test_ragged_or_empty_tables_are_refused() -> None:
    ragged: list[list[Columns]] = [[{"x": np.zeros(2), "y": np.zeros(3)}], [{"x": np.zeros(0)}], [{}], []]
    for tables in ragged:
        with pytest.raises(FormatError):
            RoundRows(tables, SEED, 0, 1, 4)


def test_unsound_pairs_are_refused(tmp_path: Path) -> None:
    order = TrainingOrder.decode(TrainingWorld(tmp_path, make_schedule()).order.payload)
    require_sound(order, "simulation")
    require_sound(order, "tdx")
    designs = order.model_copy(update={"sandbox": "wasm"})
    require_sound(designs, "sgx")
    on_gpu = order.model_copy(update={"device": "cuda"})
    require_sound(on_gpu, "simulation")
    require_sound(on_gpu, "tpm-ima")
    wrong = [(order, "sgx"), (on_gpu, "tdx"), (on_gpu, "sev-snp"),
             (designs.model_copy(update={"device": "cuda"}), "sgx")]  # fmt: skip
    for unsound, level in wrong:
        with pytest.raises(ConfinementError, match="confinement.pair"):
            require_sound(unsound, level)


def test_only_allowed_columns_are_read() -> None:
    table = {"image": np.zeros((3, 2)), "label": np.zeros(3), "name": np.zeros(3)}
    assert set(restrict_columns(table, None)) == set(table)
    assert set(restrict_columns(table, ("label", "image", "other"))) == {"image", "label"}
    with pytest.raises(FormatError, match="format.dataset"):
        restrict_columns(table, ())


def holding(percent: int, slot: int = 0, trainers: int = 2, count: int = 1000) -> RoundRows:
    rows = rows_of(count)
    return RoundRows(rows.tables, SEED, slot, trainers, 2 * count, percent)


def trained_on(rows: RoundRows) -> set[int]:
    """Of two epochs."""
    return set(rows.of_round(0)["y"].tolist())


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_what_is_held_out_no_slot_trains_on(percent: int) -> None:
    slots = [holding(percent, slot) for slot in range(2)]
    learned = set().union(*(trained_on(one) for one in slots))
    judged = slots[0].split((512, 4096))
    held = set(judged.rows["y"][judged.calibrating :].tolist())
    assert held.isdisjoint(learned)
    assert held | learned == set(range(1000))
    assert len(held) == pytest.approx(10 * percent, abs=5 * percent**0.5 + 5)
    assert set(judged.rows["y"][: judged.calibrating].tolist()) <= trained_on(slots[0])


def test_a_split_has_no_more_rows_than_are_wanted_and_is_drawn_by_the_seed() -> None:
    one, same = (holding(20).split((7, 11)) for _ in range(2))
    assert (one.calibrating, len(one.rows["y"])) == (7, 18)
    assert (one.rows["x"][:, 0] == one.rows["y"] * 3).all()
    assert one.rows["y"].tolist() == same.rows["y"].tolist()
    other = RoundRows(holding(20).tables, SecretKey.generate(), 0, 2, 20, 20).split((7, 11))
    assert other.rows["y"].tolist() != one.rows["y"].tolist()


def test_without_rows_held_out_there_is_nothing_to_judge_by() -> None:
    split = holding(0).split((7, 11))
    assert (split.calibrating, len(split.rows["y"])) == (7, 7)
    assert trained_on(holding(0)) == set(range(0, 1000, 2))


def test_a_slot_that_has_held_out_rows_alone_is_refused() -> None:
    tables = rows_of(1).tables
    for _ in range(64):
        seed = SecretKey.generate()
        if held_out(seed, 0, 1, 50).all():
            with pytest.raises(FormatError, match=r"format\.dataset"):
                RoundRows(tables, seed, 0, 1, 4, 50)
            return
    pytest.fail("no seed held the row out")
