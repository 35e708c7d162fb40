"""Every chunk of a job's data is somebody's, and what somebody reads follows from public sizes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data_shares import KEPT_UNITS, LEAST_UNITS, MAX_UNITS, share_of, units_of
from common.dataset_units import UNIT_CHUNKS
from common.errors import QuotaError


@settings(deadline=None)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=6), st.integers(1, 40))
def test_shares_cover_all_chunks(chunk_counts: list[int], trainers: int) -> None:
    units = units_of(chunk_counts)
    for part, count in enumerate(chunk_counts):
        own = [unit for unit in units if unit.part == part]
        assert [c for u in own for c in range(u.first_chunk, u.first_chunk + u.chunks)] == list(range(count))
    shares = [share_of(chunk_counts, slot, trainers) for slot in range(trainers)]
    if shares[0].step == 1 and trainers > 1:
        assert sorted((u.part, u.number) for share in shares for u in share.units) == [
            (u.part, u.number) for u in units
        ]
        assert min(len(share.units) for share in shares) >= LEAST_UNITS
    else:
        assert all(share.units == units and share.step == trainers for share in shares)
    assert {share.whole for share in shares} == {len(units) <= KEPT_UNITS}


def test_small_data_are_whole_and_large_ones_are_dealt() -> None:
    small, large, few = (share_of([c], 1, n) for c, n in ((10, 3), (5120, 2), (5120, 400)))
    assert (small.whole, small.kept, small.step, small.chunks) == (True, True, 3, 10)
    assert (large.whole, large.kept, large.step, large.chunks) == (False, False, 1, 2560)
    assert (few.whole, few.kept, few.step, few.chunks) == (False, False, 400, 5120)
    assert share_of([5120], 1, 16).kept
    assert share_of([KEPT_UNITS * UNIT_CHUNKS], 0, 1).whole
    assert not share_of([KEPT_UNITS * UNIT_CHUNKS + 1], 0, 1).whole


def test_more_than_can_be_dealt_is_refused() -> None:
    with pytest.raises(QuotaError, match=r"quota\.window"):
        share_of([MAX_UNITS * UNIT_CHUNKS, 1], 0, 1)
