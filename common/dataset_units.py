"""Units of a data set: chunks that hold whole rows on their own (side: library; enclaves read by them).

A unit is `UNIT_CHUNKS` chunks of a sealed object, from its first chunk on; the last one may have fewer. In a payload
that is written in units, record batch i fills unit i: it ends where the unit ends, so that who has a unit's chunks and
the schema (which is in the first unit) has the unit's rows, and needs no footer. Batches have the same number of rows,
but for the last one. The schema's metadata say so (`UnitMarks`); any Arrow reader reads such a file as any other.

R rows of a unit.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import pyarrow as pa

from common.sealed_object.layout import CHUNK_BYTES, LENGTH_BYTES

UNIT_CHUNKS: Final = 8
"""Large enough that rows of 1 MiB waste an eighth at most, small enough that a window holds many of them."""

UNIT_BYTES: Final = UNIT_CHUNKS * CHUNK_BYTES

MAGIC_BYTES: Final = 8
"""`ARROW1` and two zeros; the schema's message follows (Arrow columnar format, IPC file format)."""

_ALIGNMENT: Final = 8
_KEYS: Final = (b"cloister.unit_bytes", b"cloister.unit_rows", b"cloister.rows")
_MOST_DIGITS: Final = 10
"""A number in the schema's metadata has at most so many digits where the rows of a unit are counted."""


@dataclass(frozen=True)
class UnitMarks:
    """What a schema says of its units: bytes of each, rows in each but the last, rows of the whole payload."""

    unit_bytes: int
    unit_rows: int
    rows: int

    def mark(self, schema: Any) -> Any:
        """The schema with these marks."""
        values = (self.unit_bytes, self.unit_rows, self.rows)
        return schema.with_metadata({key: str(value).encode() for key, value in zip(_KEYS, values, strict=True)})

    @classmethod
    def of(cls, schema: Any) -> Self | None:
        """The marks of a schema, None where it has none. Raises `ValueError` for others than positive numbers."""
        metadata = schema.metadata or {}
        if not any(key in metadata for key in _KEYS):
            return None
        marks = cls(*(int(metadata.get(key, b"0")) for key in _KEYS))
        if min(marks.unit_bytes, marks.unit_rows, marks.rows) < 1:
            raise ValueError("marks are positive numbers")
        return marks

    def rows_of(self, number: int) -> int:
        """Rows of unit `number`; 0 for units that are footer or padding alone."""
        return max(0, min(self.unit_rows, self.rows - number * self.unit_rows))


def marks_for(one_row: Any, row_bytes: Sequence[int], rows: int, unit_bytes: int) -> UnitMarks | None:
    """How columns are laid out in units; None where a unit does not hold even one row.

    `one_row`: a record batch of one of them.
    """
    longest = UnitMarks(*(10**_MOST_DIGITS - 1,) * len(_KEYS)).mark(one_row.schema)
    unit_rows = _most_rows(row_bytes, unit_bytes - begin_bytes(longest) - message_bytes(one_row, row_bytes))
    return UnitMarks(unit_bytes, unit_rows, rows) if unit_rows else None


def begin_bytes(schema: Any) -> int:
    """What comes before the first record batch in an object: payload length, magic, schema."""
    return LENGTH_BYTES + MAGIC_BYTES + int(schema.serialize().size)


def body_bytes(row_bytes: Sequence[int], rows: int) -> int:
    """Body of a record batch without missing values: each column's values, aligned."""
    return sum(-(-rows * one // _ALIGNMENT) * _ALIGNMENT for one in row_bytes)


def message_bytes(one_row: Any, row_bytes: Sequence[int]) -> int:
    """Message of a record batch before its body, with the metadata `padding` of no length, however many rows it has."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, one_row.schema) as writer:
        writer.write_batch(one_row, custom_metadata={"padding": ""})
        before = sink.tell()
        writer.write_batch(one_row, custom_metadata={"padding": ""})
        return sink.tell() - before - body_bytes(row_bytes, 1)


def _most_rows(row_bytes: Sequence[int], room: int) -> int:
    least = sum(row_bytes)
    rows = max(0, room // least)
    while rows and body_bytes(row_bytes, rows) > room:
        rows -= 1
    return rows
