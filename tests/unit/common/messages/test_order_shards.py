"""Which data sets each slot of an order trains on."""

from typing import Any

import pytest
from pydantic import ValidationError

from common.crypto.digests import sha256
from common.identifiers import DatasetId
from common.messages.order import TrainingOrder
from tests.vectors.sample_documents import ORDER

DATASETS = tuple(DatasetId.of(sha256(bytes([number]))) for number in range(3))
FIRST, SECOND, THIRD = DATASETS


def order(**changes: Any) -> TrainingOrder:
    fields = ORDER.model_dump() | {"datasets": DATASETS, "trainers": 4}
    return TrainingOrder.model_validate(fields | changes)


def test_without_shards_every_slot_trains_on_all() -> None:
    plain = order()
    assert plain.all_shards == (DATASETS,) * 4
    assert [plain.place(slot) for slot in range(4)] == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_slots_with_the_same_data_share_them() -> None:
    dealt = order(shards=((0,), (1, 2), (0,), (1, 2)))
    assert dealt.all_shards == ((FIRST,), (SECOND, THIRD), (FIRST,), (SECOND, THIRD))
    assert [dealt.place(slot) for slot in range(4)] == [(0, 2), (0, 2), (1, 2), (1, 2)]
    assert order(shards=((0,), (1,), (2,), (0, 1, 2))).place(3) == (0, 1)


@pytest.mark.parametrize(
    "shards",
    [
        ((0, 1, 2),),
        ((0, 1, 2),) * 5,
        ((0,), (1,), (0,), (1,)),
        ((0,), (1,), (2,), (3,)),
        ((0,), (1,), (2,), ()),
        ((0,), (1,), (2,), (2, 1)),
        ((0,), (1,), (2,), (2, 2)),
        ((0,), (1,), (2,), (-1,)),
    ],
)
def test_anything_else_is_no_order(shards: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValidationError):
        order(shards=shards)


def test_an_order_of_many_shards_stays_short() -> None:
    names = tuple(DatasetId.of(sha256(b"many" + bytes([number]))) for number in range(64))
    with pytest.raises(ValidationError):
        order(datasets=names, trainers=1024, shards=(tuple(range(64)),) * 1024)
