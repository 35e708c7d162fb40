"""Rows of a sealed data set by its units, without the rest of it (side: library; enclaves read by it).

Nothing here authenticates: whoever calls has opened the chunks.
"""

from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
from numpy.typing import NDArray

from common.dataset_payload import columns_of, malformed
from common.dataset_units import MAGIC_BYTES, UNIT_CHUNKS, UnitMarks
from common.sealed_object.layout import LENGTH_BYTES

Plain = bytes | bytearray | memoryview


@dataclass(frozen=True)
class UnitReader:
    """Units of one payload. `schema` is Arrow's."""

    schema: Any
    marks: UnitMarks

    @classmethod
    def begin(cls, first: Plain, chunk_bytes: int) -> Self | None:
        """What the plaintext of chunk 0 says; None for a payload that is not written in units of such chunks.

        Raises `FormatError` (format.dataset).
        """
        try:
            schema = pa.ipc.read_schema(pa.BufferReader(memoryview(first)[LENGTH_BYTES + MAGIC_BYTES :]))
            marks = UnitMarks.of(schema)
        except (pa.ArrowException, OSError, ValueError, TypeError) as cause:
            raise malformed("an Arrow IPC file", type(cause).__name__) from cause
        return None if marks is None or marks.unit_bytes != UNIT_CHUNKS * chunk_bytes else cls(schema, marks)

    def read(self, number: int, plain: Plain) -> dict[str, NDArray[Any]]:
        """The columns of unit `number` from all its chunks, not copied; none where it has no rows.

        Raises `FormatError` (format.dataset).
        """
        rows = self.marks.rows_of(number)
        if not rows:
            return {}
        try:
            reader = pa.BufferReader(memoryview(plain)[0 if number else LENGTH_BYTES + MAGIC_BYTES :])
            if not number:
                pa.ipc.read_message(reader)  # the schema
            batch = pa.ipc.read_record_batch(pa.ipc.read_message(reader), self.schema)
            columns = columns_of(batch)
        except (pa.ArrowException, OSError, ValueError, TypeError, EOFError) as cause:
            raise malformed("a record batch in each unit", type(cause).__name__) from cause
        if batch.num_rows != rows:
            raise malformed(f"{rows} rows in unit {number}", batch.num_rows)
        return columns
