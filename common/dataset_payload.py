"""The payload of a sealed data set: an Arrow IPC file of columns of fixed shape (side: library; enclaves read it).

Row i of every column belongs to example i. A column of scalars is a plain Arrow array, one of tensors an
`arrow.fixed_shape_tensor` (Arrow columnar format, canonical extension types), so NumPy sees both without a copy.
N rows. Allowed element types: signed and unsigned integers of 8 to 64 bits, floats of 16 to 64 bits.

Written in *units* (common/dataset_units): one record batch fills each, so that whole rows are found in a few chunks.
"""

import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.data_shares import KEPT_UNITS
from common.dataset_units import UNIT_BYTES, begin_bytes, body_bytes, marks_for, message_bytes
from common.errors import FormatError
from common.sealed_object.layout import LENGTH_BYTES

Columns = Mapping[str, NDArray[Any]]

DTYPES: Final = frozenset(
    {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64"}
)
MAX_COLUMNS: Final = 64
MAX_NAME: Final = 64


@dataclass(frozen=True)
class ColumnProfile:
    """Name, element type, and the shape of one example, `()` for a scalar."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class DatasetProfile:
    """What may be said of a data set without any of its values."""

    rows: int
    columns: tuple[ColumnProfile, ...]


def profile_of(columns: Columns) -> DatasetProfile:
    """Describe columns. Raises `FormatError` (format.dataset) unless they make a data set."""
    if not 1 <= len(columns) <= MAX_COLUMNS:
        raise malformed(f"1 to {MAX_COLUMNS} columns", len(columns))
    for name, array in columns.items():
        if not 0 < len(name) <= MAX_NAME or not name.isidentifier():
            raise malformed(f"column names that are identifiers of at most {MAX_NAME} characters", name)
        if array.ndim < 1 or str(array.dtype) not in DTYPES:
            raise malformed("numeric columns, one entry a row", f"{name}: {array.dtype}, {array.ndim} dimensions")
        if array.size == 0:
            raise malformed("at least one row and no empty dimension", f"{name}: {array.shape}")
    rows = {array.shape[0] for array in columns.values()}
    if len(rows) != 1:
        raise malformed("columns of one length", sorted(rows))
    return DatasetProfile(rows.pop(), tuple(ColumnProfile(n, str(a.dtype), a.shape[1:]) for n, a in columns.items()))


def encode_columns(columns: Columns) -> bytes:
    """The payload bytes of these columns. Raises `FormatError` (format.dataset)."""
    return b"".join(encode_pieces(columns))


def encode_pieces(columns: Columns, unit_bytes: int = UNIT_BYTES) -> Iterator[bytes]:
    """The payload of these columns, batch by batch: they may be larger than memory, as `numpy.memmap` is.

    A batch fills a unit: what it leaves is filled by custom metadata `padding` of its message. Columns whose rows are
    larger than a unit become one batch, which only data that are kept whole may be. Raises `FormatError`
    (format.dataset).
    """
    rows, row_bytes = profile_of(columns).rows, _row_bytes(columns)
    one_row = _batch(columns, slice(1))
    marks = marks_for(one_row, row_bytes, rows, unit_bytes)
    if marks is None and rows * sum(row_bytes) > KEPT_UNITS * unit_bytes:
        raise malformed(f"rows smaller than {unit_bytes} bytes where there are so many", sum(row_bytes))
    schema = one_row.schema if marks is None else marks.mark(one_row.schema)
    step = rows if marks is None else marks.unit_rows
    free = unit_bytes - message_bytes(one_row, row_bytes) - body_bytes(row_bytes, step)
    sink = _Pieces()
    with pa.ipc.new_file(sink, schema) as writer:
        for first in range(0, rows, step):
            batch = _batch(columns, slice(first, first + step)).replace_schema_metadata(schema.metadata)
            padding = 0 if first + step >= rows else free - (begin_bytes(schema) if first == 0 else 0)
            writer.write_batch(batch, custom_metadata={"padding": " " * padding})
            if first + step < rows and (LENGTH_BYTES + sink.tell()) % unit_bytes:
                raise RuntimeError("a record batch does not end with its unit")
            yield sink.take()
    yield sink.take()


def _batch(columns: Columns, rows: slice) -> Any:
    return pa.record_batch([to_arrow(np.ascontiguousarray(one[rows])) for one in columns.values()], list(columns))


def _row_bytes(columns: Columns) -> tuple[int, ...]:
    return tuple(array.dtype.itemsize * math.prod(array.shape[1:]) for array in columns.values())


class _Pieces(io.RawIOBase):
    """A file that gives away what was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces, self._at = list[bytes](), 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._at += len(self._pieces[-1])
        return len(self._pieces[-1])

    def take(self) -> bytes:
        """All since the last time."""
        taken, self._pieces = b"".join(self._pieces), []
        return taken


def read_columns(source: bytes | bytearray | memoryview | BinaryIO) -> dict[str, NDArray[Any]]:
    """The columns of a payload, read-only. Raises `FormatError` (format.dataset) for anything but a data set."""
    try:
        raw = isinstance(source, bytes | bytearray | memoryview)
        reader = pa.ipc.open_file(pa.BufferReader(source) if raw else source)
        if not reader.num_record_batches:
            raise malformed("at least one record batch", 0)
        batches = [columns_of(reader.get_batch(number)) for number in range(reader.num_record_batches)]
    except (pa.ArrowException, OSError, ValueError, TypeError) as cause:
        raise malformed("an Arrow IPC file", type(cause).__name__) from cause
    if len(batches) == 1:
        return batches[0]
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    for array in joined.values():
        array.flags.writeable = False
    return joined


def columns_of(batch: Any) -> dict[str, NDArray[Any]]:
    """The columns of one record batch, not copied. Raises `FormatError` (format.dataset), and what pyarrow raises."""
    names = list(batch.schema.names)
    if len(set(names)) != len(names):
        raise malformed("columns with different names", names)
    batch.validate(full=True)
    columns = {name: _to_numpy(name, array) for name, array in zip(names, batch.columns, strict=True)}
    profile_of(columns)
    return columns


def to_arrow(array: NDArray[Any]) -> Any:
    """An Arrow array of these rows."""
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(array)


def _to_numpy(name: str, array: Any) -> NDArray[Any]:
    if array.null_count:
        raise malformed("columns without missing values", name)
    if isinstance(array, pa.FixedShapeTensorArray):
        if array.storage.values.null_count:
            raise malformed("tensors without missing values", name)
        tensors: NDArray[Any] = array.to_numpy_ndarray()
        return tensors
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise malformed("numeric columns", f"{name}: {array.type}")
    scalars: NDArray[Any] = array.to_numpy(zero_copy_only=True)
    return scalars


def malformed(expected: str, seen: object) -> FormatError:
    """What is no data set."""
    return FormatError("format.dataset", expected=expected, seen=seen)
