"""The payload of a sealed data set: an Arrow IPC file of columns of fixed shape (side: library; enclaves read it).

One record batch; row i of every column belongs to example i. A column of scalars is a plain Arrow array, one of tensors
an `arrow.fixed_shape_tensor` (Arrow columnar format, canonical extension types), so NumPy sees both without a copy.
N rows. Allowed element types: signed and unsigned integers of 8 to 64 bits, floats of 16 to 64 bits.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.errors import FormatError

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
        raise _malformed(f"1 to {MAX_COLUMNS} columns", len(columns))
    for name, array in columns.items():
        if not 0 < len(name) <= MAX_NAME or not name.isidentifier():
            raise _malformed(f"column names that are identifiers of at most {MAX_NAME} characters", name)
        if array.ndim < 1 or str(array.dtype) not in DTYPES:
            raise _malformed("numeric columns, one entry a row", f"{name}: {array.dtype}, {array.ndim} dimensions")
        if array.size == 0:
            raise _malformed("at least one row and no empty dimension", f"{name}: {array.shape}")
    rows = {array.shape[0] for array in columns.values()}
    if len(rows) != 1:
        raise _malformed("columns of one length", sorted(rows))
    return DatasetProfile(rows.pop(), tuple(ColumnProfile(n, str(a.dtype), a.shape[1:]) for n, a in columns.items()))


def encode_columns(columns: Columns) -> bytes:
    """The payload bytes of these columns. Raises `FormatError` (format.dataset)."""
    profile_of(columns)
    arrays = [_to_arrow(np.ascontiguousarray(array)) for array in columns.values()]
    batch = pa.record_batch(arrays, names=list(columns))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def read_columns(source: bytes | BinaryIO) -> dict[str, NDArray[Any]]:
    """The columns of a payload, read-only. Raises `FormatError` (format.dataset) for anything but a data set."""
    try:
        reader = pa.ipc.open_file(pa.BufferReader(source) if isinstance(source, bytes) else source)
        names = list(reader.schema.names)
        if reader.num_record_batches != 1 or len(set(names)) != len(names):
            raise _malformed("one record batch of columns with different names", reader.num_record_batches)
        batch = reader.get_batch(0)
        batch.validate(full=True)
        columns = {name: _to_numpy(name, array) for name, array in zip(names, batch.columns, strict=True)}
    except (pa.ArrowException, OSError, ValueError, TypeError) as cause:
        raise _malformed("an Arrow IPC file", type(cause).__name__) from cause
    profile_of(columns)
    return columns


def _to_arrow(array: NDArray[Any]) -> Any:
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedShapeTensorArray.from_numpy_ndarray(array)


def _to_numpy(name: str, array: Any) -> NDArray[Any]:
    if array.null_count:
        raise _malformed("columns without missing values", name)
    if isinstance(array, pa.FixedShapeTensorArray):
        if array.storage.values.null_count:
            raise _malformed("tensors without missing values", name)
        tensors: NDArray[Any] = array.to_numpy_ndarray()
        return tensors
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise _malformed("numeric columns", f"{name}: {array.type}")
    scalars: NDArray[Any] = array.to_numpy(zero_copy_only=True)
    return scalars


def _malformed(expected: str, seen: object) -> FormatError:
    return FormatError("format.dataset", expected=expected, seen=seen)
