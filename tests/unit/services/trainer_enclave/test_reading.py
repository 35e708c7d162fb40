"""Chunk reads: what is asked for, what is kept of it, what a host could do to it."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from common.data_shares import KEPT_UNITS, SAMPLE_UNITS, WINDOW_UNITS
from common.dataset_units import UNIT_CHUNKS
from common.errors import QuotaError, UnavailableError
from common.messages.objects import ObjectRef
from services.trainer_enclave.keeping import MISSED_PASSES
from services.trainer_enclave.reading import MAX_BEHIND, ChunkReads, ReadClock
from tests.fakes.sealed_rows import UNIT_BYTES, WINDOWED, SealedRows, chunks_of, numbered, read_tick

SMALL, LARGE = (300, 200), (5000, 1000)


def read(reads: ChunkReads, ticks: range) -> None:
    for tick in ticks:
        read_tick(reads, tick)


def a_pass(reads: ChunkReads, first: int = 0, per_tick: int = 8) -> range:
    return range(first, first - (-reads.share.chunks // per_tick))


@pytest.fixture
def small() -> SealedRows:
    return SealedRows(SMALL)


@pytest.fixture(scope="module")
def large() -> SealedRows:
    return SealedRows(LARGE)


def test_small_data_are_read_by_all_and_kept(small: SealedRows) -> None:
    reads = small.reads(trainers=2, reads_per_tick=4)
    assert small.asked == [(one.root, 0) for one in small.references], "headers come before the clock"
    assert not reads.ready(0)
    with pytest.raises(UnavailableError):
        reads.take_kept()
    small.asked.clear()
    read(reads, a_pass(reads, 0, 4))
    assert len(set(small.asked)) == len(small.asked) == reads.share.chunks
    assert reads.ready(0)
    assert reads.ready(None)
    assert reads.failure is None
    read(reads, a_pass(reads, 100, 4))
    assert len(small.asked) == reads.share.chunks, "once is enough"
    assert tuple(one.unit for one in reads.take_kept()) == reads.share.units


def test_small_data_give_all_their_rows(small: SealedRows) -> None:
    reads = small.reads(reads_per_tick=8)
    read(reads, a_pass(reads))
    tables = small.tables(reads).of_all(reads.take_kept())
    for name in ("x", "y"):
        wanted = np.concatenate([numbered(rows, part)[name] for part, rows in enumerate(SMALL)])
        np.testing.assert_array_equal(np.concatenate([one[name] for one in tables]), wanted)


def test_a_payload_that_is_not_in_units_is_read_where_data_are_whole(small: SealedRows) -> None:
    small.references[0] = small.add(numbered(SMALL[0]), unit_bytes=UNIT_BYTES // 2)
    reads = small.reads(reads_per_tick=8)
    read(reads, a_pass(reads))
    tables = small.tables(reads).of_all(reads.take_kept())
    np.testing.assert_array_equal(np.concatenate([one["y"] for one in tables]), [*range(300), *range(200)])


def test_large_data_are_dealt(large: SealedRows) -> None:
    asked = []
    for slot in range(2):
        large.asked.clear()
        reads = large.reads(slot, trainers=2, **WINDOWED)
        assert large.asked == [(r.root, 0) for r in large.references] + [(r.root, 1) for r in large.references]
        large.asked.clear()
        read(reads, a_pass(reads))
        asked.append(set(large.asked))
        assert len(asked[-1]) == reads.share.chunks
    assert not asked[0] & asked[1]
    assert len(asked[0] | asked[1]) == sum(one.chunk_count for one in large.references)


def test_what_is_kept_is_what_was_read_last(large: SealedRows) -> None:
    """So many units and no more, however slow training is: it is never asked."""
    reads = large.reads(**WINDOWED)
    for tick in range(300):
        read_tick(reads, tick)
        assert reads.newest is not None
        kept = reads.newest._kept
        assert sorted(kept) == list(range(max(0, tick + 1 - KEPT_UNITS), tick + 1))
        assert sum(len(one.plain) for one in kept.values()) <= KEPT_UNITS * UNIT_BYTES
    assert reads.failure is None


def test_a_launch_that_joins_late_reads_what_the_others_do(large: SealedRows) -> None:
    early, late = large.reads(**WINDOWED), large.reads(**WINDOWED)
    read(early, range(100))
    large.asked.clear()
    read_tick(early, 100)
    on_time = list(large.asked)
    large.asked.clear()
    read_tick(late, 100)
    assert large.asked == on_time


def test_a_round_waits_for_its_window_and_then_for_nothing(large: SealedRows) -> None:
    reads = large.reads(**WINDOWED)
    window, ready = reads.windows.of_round(0), list[bool]()
    for tick in range(80):
        read_tick(reads, tick)
        ready.append(reads.ready(0))
    assert ready.index(True) == window.stop - 1
    assert all(ready[window.stop - 1 :])
    assert not reads.ready(50)


def test_a_launch_that_joins_late_waits_for_a_window_that_it_saw_whole(large: SealedRows) -> None:
    late, seen = large.reads(**WINDOWED), list[tuple[bool, bool]]()
    for tick in range(100, 100 + KEPT_UNITS):
        read_tick(late, tick)
        on_time = (tick - WINDOWED["warmup_ticks"]) // WINDOWED["ticks_per_round"]
        seen.append((late.ready(on_time), late.ready(0)))
    first = [one for one, _ in seen].index(True)
    assert WINDOW_UNITS <= first < KEPT_UNITS - 1
    assert late.windows.of_round((100 + first - 80) // 3).start >= 100
    assert [one for _, one in seen].index(True) == KEPT_UNITS - 1, "what went by is not waited for in vain"


def test_a_job_that_begins_anew_is_read_anew(large: SealedRows) -> None:
    reads = large.reads(**WINDOWED)
    read(reads, range(150))
    read(reads, range(3))
    assert reads.newest is not None
    assert sorted(reads.newest._kept) == [0, 1, 2]
    assert not reads.ready(0)


def test_design_code_is_told_of_one_sample_at_every_slot(large: SealedRows) -> None:
    samples = []
    for slot in range(2):
        large.asked.clear()
        reads = large.reads(slot, sandbox="wasm", **WINDOWED)
        samples.append(large.asked[4:])
        assert reads.ready(None)
        assert not reads.ready(0)
        tables = large.tables(reads)
        assert sum(len(one["y"]) for one in tables.of_each(reads.sample)) > 10 * SAMPLE_UNITS
        assert tables.rows == sum(LARGE)
    assert samples[0] == samples[1]
    assert len(samples[0]) == SAMPLE_UNITS * UNIT_CHUNKS


def test_a_store_that_is_away_is_asked_again_in_another_order(small: SealedRows) -> None:
    reads, length = small.reads(reads_per_tick=1), small.reads().share.chunks
    small.asked.clear()
    small.spoils = lambda _part, _leaf, _data: None
    read(reads, range(length))
    assert not reads.ready(0)
    assert reads.failure is None
    first = list(small.asked)
    small.spoils = lambda part, leaf, data: None if (part, leaf) == (0, 2) else data
    read(reads, range(100, 100 + length))
    assert not reads.ready(0)
    small.spoils = lambda _part, _leaf, data: data
    read(reads, range(200, 200 + length))
    assert reads.ready(0)
    passes = [small.asked[begin : begin + length] for begin in range(0, 3 * length, length)]
    assert first == passes[0] != passes[1] != passes[2]
    assert set(passes[0]) == set(passes[1]) == set(passes[2])
    read(reads, range(300, 300 + length))
    assert len(small.asked) == 3 * length


def test_false_answers_are_answers(small: SealedRows) -> None:
    """How long data are read tells nothing that the host did not do itself."""
    false = SealedRows(SMALL)
    false.spoils = lambda _part, _leaf, data: data[:-1] + bytes([data[-1] ^ 1])
    for data in (small, false):
        reads = data.reads(reads_per_tick=8)
        data.asked.clear()
        read(reads, range(2 * len(a_pass(reads))))
        assert len(data.asked) == reads.share.chunks


@pytest.mark.parametrize("parts", [SMALL, LARGE])
@pytest.mark.parametrize("way", ["damaged", "cut", "another place", "another object"])
def test_false_chunks_are_failures_and_change_no_request(parts: tuple[int, ...], way: str) -> None:
    honest = SealedRows(parts)

    def spoil(part: int, leaf: int, data: bytes) -> bytes:
        other = {"another place": (part, leaf - 1), "another object": (1 - part, leaf)}
        if part != 0 or leaf != 2:
            return data
        if way in other:
            number, place = other[way]
            return honest.store.leaves[honest.references[number].root, place]
        return data[:-1] if way == "cut" else data[:-1] + bytes([data[-1] ^ 1])

    false = SealedRows(parts, honest.key, honest.store)
    false.references, false.spoils = honest.references, spoil
    slots = [false.reads(slot, **WINDOWED) for slot in range(2)]
    for one in slots:
        read(one, a_pass(one))
    assert {one.failure for one in slots} >= {"authenticity.sealed_object"}
    honest.asked.clear()
    for one in [honest.reads(slot, **WINDOWED) for slot in range(2)]:
        read(one, a_pass(one))
        assert one.failure is None
    assert honest.asked == false.asked


def test_an_object_swapped_for_another_of_the_same_key_is_refused() -> None:
    """Its chunks open under its own header, which is not the one of the root that the manifest names."""
    for parts in ((300, 300), (3000, 3000)):
        data = SealedRows(parts)
        first, second = data.references
        assert first.chunk_count == second.chunk_count
        data.references = [first]
        for leaf in range(first.chunk_count + 1):
            data.store.leaves[first.root, leaf] = data.store.leaves[second.root, leaf]
        reads = data.reads(**WINDOWED)
        assert reads.failure == "authenticity.sealed_object"
        read(reads, a_pass(reads))
        assert not reads.ready(0)
        data.store.proofs[first.root] = data.store.proofs[second.root]
        assert data.reads(**WINDOWED).failure == "authenticity.sealed_object"


def test_an_older_version_of_a_chunk_is_refused() -> None:
    """The owner sealed the same rows twice under one key; the store replays a chunk of the first object."""
    old = SealedRows((5000,))
    new = SealedRows((5000,), old.key)
    new.spoils = lambda _part, leaf, data: old.store.leaves[old.references[0].root, leaf] if leaf == 40 else data
    slots = [new.reads(slot, **WINDOWED) for slot in range(2)]
    for reads in slots:
        read(reads, a_pass(reads))
    assert sorted(one.failure or "" for one in slots) == ["", "authenticity.sealed_object"]


def test_a_chunk_that_is_not_there_is_a_failure(large: SealedRows) -> None:
    data = SealedRows(LARGE, large.key, large.store)
    data.references = large.references
    del (store := data.store).leaves[data.references[0].root, 30]
    try:
        codes = []
        for slot in range(2):
            reads = data.reads(slot, **WINDOWED)
            read(reads, a_pass(reads))
            codes.append(reads.failure)
        assert sorted(code or "" for code in codes) == ["", "not_found.object"]
    finally:
        store.leaves.update(SealedRows(LARGE, large.key).store.leaves)


def test_a_host_that_keeps_some_units_back_ends_the_training(large: SealedRows) -> None:
    """Else it would choose what is trained on."""
    data = SealedRows(LARGE, large.key, large.store)
    data.references = large.references
    reads = data.reads(**WINDOWED)
    kept_back = set(chunks_of(reads.share.units[3]))
    data.spoils = lambda part, leaf, chunk: None if part == 0 and leaf in kept_back else chunk
    length = len(a_pass(reads))
    read(reads, range(MISSED_PASSES * length))
    assert reads.failure is None
    read(reads, range(MISSED_PASSES * length, (MISSED_PASSES + 1) * length + 1))
    assert reads.failure == "unavailable.store"


def test_more_than_a_walk_can_shuffle_is_refused(small: SealedRows) -> None:
    small.references = [ObjectRef(root=small.references[0].root, chunk_count=1 << 24)]
    with pytest.raises(QuotaError):
        small.reads()


def test_reads_that_lag_are_skipped_and_hold_no_clock(small: SealedRows) -> None:
    going = threading.Event()

    def wait(_part: int, _leaf: int, data: bytes) -> bytes:
        going.wait(10)
        return data

    reads = small.reads(reads_per_tick=2)
    small.spoils = wait
    clock, before = ReadClock(reads, 2), len(small.asked)
    clock.start()
    for tick in range(50):
        clock.tick(tick)
    going.set()
    wanted = before + 2 * MAX_BEHIND
    deadline = time.monotonic() + 10
    while len(small.asked) < wanted and time.monotonic() < deadline:
        time.sleep(0.01)
    clock.tick(50)
    _until(lambda: len(small.asked) == wanted + 2)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
