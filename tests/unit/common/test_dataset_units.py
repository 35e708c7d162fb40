"""A payload in units: each unit's chunks hold its rows, and Arrow's own reader sees nothing unusual."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.data_shares import KEPT_UNITS
from common.dataset_payload import DTYPES, encode_columns, encode_pieces, read_columns
from common.dataset_reading import UnitReader
from common.dataset_units import UNIT_BYTES, UNIT_CHUNKS, UnitMarks
from common.errors import FormatError

CHUNK = 1024
UNIT = UNIT_CHUNKS * CHUNK


def plaintext(columns: dict[str, np.ndarray], unit_bytes: int = UNIT) -> bytes:
    payload = b"".join(encode_pieces(columns, unit_bytes))
    return len(payload).to_bytes(8, "big") + payload


def units(plain: bytes) -> list[bytes]:
    return [plain[at : at + UNIT] for at in range(0, len(plain), UNIT)]


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 600), st.lists(st.sampled_from(sorted(DTYPES)), min_size=1, max_size=4), st.integers(1, 90))
def test_every_unit_has_its_own_rows(rows: int, dtypes: list[str], width: int) -> None:
    columns: dict[str, Any] = {f"c{n}": (np.arange(rows * width) % 101).astype(kind).reshape(rows, width)
               for n, kind in enumerate(dtypes)}  # fmt: skip
    columns["flat"] = np.arange(rows)
    plain = plaintext(columns)
    reader = UnitReader.begin(plain[:UNIT], CHUNK)
    assert reader is not None
    read = [reader.read(number, bytearray(unit)) for number, unit in enumerate(units(plain))]
    assert [len(one["flat"]) for one in read if one] == [
        reader.marks.rows_of(number) for number in range(-(-rows // reader.marks.unit_rows))
    ]
    for name, column in columns.items():
        joined = np.concatenate([one[name] for one in read if one])
        assert joined.dtype == column.dtype
        np.testing.assert_array_equal(joined, column)
    np.testing.assert_array_equal(read_columns(plain[8:])["flat"], columns["flat"])


def test_units_are_full() -> None:
    """What is left of one is less than a row, the schema's room apart."""
    columns: dict[str, Any] = {"image": np.zeros((1000, 8, 8, 3), np.uint8), "label": np.zeros(1000, np.int64)}
    reader = UnitReader.begin(plaintext(columns)[:UNIT], CHUNK)
    assert reader is not None
    assert (reader.marks.unit_rows + 1) * 200 > UNIT - 1600
    big = {"x": np.zeros((20_000, 1024), np.uint8)}
    assert len(encode_columns(big)) < 20_000 * 1024 * 1.001 + UNIT_BYTES


def test_reading_a_unit_copies_nothing() -> None:
    plain = bytearray(plaintext({"x": np.arange(100, dtype=np.int32)})[:UNIT])
    reader = UnitReader.begin(plain[:CHUNK], CHUNK)
    assert reader is not None
    column = reader.read(0, plain)["x"]
    assert np.shares_memory(column, np.frombuffer(plain, np.uint8))
    assert not column.flags.writeable


def test_columns_larger_than_memory_are_encoded_piece_by_piece() -> None:
    columns = {"x": np.broadcast_to(np.uint8(7), (3 * UNIT_BYTES // 1000 * 400, 1000))}  # 10 GB of one byte
    assert columns["x"].nbytes > 10**10
    pieces = encode_pieces(columns)
    assert [len(next(pieces)) for _ in range(3)] == [UNIT_BYTES - 8, UNIT_BYTES, UNIT_BYTES]


def test_rows_larger_than_a_unit_are_one_batch() -> None:
    columns = {"x": np.arange(3 * UNIT).reshape(3, UNIT)}
    plain = plaintext(columns)
    assert UnitReader.begin(plain[:UNIT], CHUNK) is None
    np.testing.assert_array_equal(read_columns(plain[8:])["x"], columns["x"])
    with pytest.raises(FormatError, match=r"format\.dataset"):
        plaintext({"x": np.zeros((KEPT_UNITS + 1, UNIT), np.uint8)})


def test_units_of_other_chunks_are_none() -> None:
    assert UnitReader.begin(plaintext({"x": np.arange(9)})[:UNIT], 2 * CHUNK) is None
    plain = bytes(8) + encode_columns({"x": np.arange(9)})
    assert UnitReader.begin(plain, CHUNK) is None
    assert UnitReader.begin(plain, CHUNK << 10) is not None


def changed_marks(**changes: str) -> bytes:
    schema = pa.schema([("x", pa.int64())])
    marks = {"unit_bytes": str(UNIT), "unit_rows": "10", "rows": "100"} | changes
    marked = schema.with_metadata({f"cloister.{name}": value for name, value in marks.items()})
    return bytes(16) + bytes(marked.serialize().to_pybytes())


@pytest.mark.parametrize(
    "raw", [b"", bytes(CHUNK), changed_marks(unit_rows="0"), changed_marks(rows="-1"), changed_marks(rows="many")]
)
def test_what_is_no_beginning_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match=r"format\.dataset"):
        UnitReader.begin(raw, CHUNK)


def test_what_is_no_unit_is_refused() -> None:
    columns = {"x": np.arange(4000)}
    cut, plain = units(plaintext(columns)), plaintext(columns)
    reader = UnitReader.begin(plain[:CHUNK], CHUNK)
    assert reader is not None

    def refused(number: int, raw: bytes, by: UnitReader = reader) -> None:
        with pytest.raises(FormatError, match=r"format\.dataset"):
            by.read(number, raw)

    refused(1, bytes(UNIT))
    refused(1, cut[1][:-CHUNK])
    refused(1, cut[0])
    refused(0, cut[1])
    refused(len(cut) - 1, cut[1])  # other rows than the last unit has
    fewer = UnitReader(reader.schema, UnitMarks(UNIT, reader.marks.unit_rows - 1, 4000))
    refused(1, cut[1], fewer)
    assert reader.read(len(cut), b"") == {}


def test_missing_values_are_refused() -> None:
    schema = UnitMarks(UNIT, 2, 2).mark(pa.schema([("x", pa.int64())]))
    batch: Any = pa.record_batch([pa.array([1, None])], schema=schema)
    reader = UnitReader(schema, UnitMarks(UNIT, 2, 4))
    with pytest.raises(FormatError, match=r"format\.dataset"):
        reader.read(1, batch.serialize().to_pybytes())
