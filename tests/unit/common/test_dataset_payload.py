"""Columns in, the same columns out; anything that is no data set is refused."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from common.dataset_payload import DTYPES, DatasetProfile, encode_columns, profile_of, read_columns
from common.errors import FormatError


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_type_and_shape_survives(dtype: str) -> None:
    columns = {"x": np.arange(24).reshape(4, 2, 3).astype(dtype), "y": np.arange(4).astype(dtype)}
    for source in (encode_columns(columns), io.BytesIO(encode_columns(columns))):
        back = read_columns(source)
        assert list(back) == ["x", "y"]
        for name, array in columns.items():
            assert back[name].dtype == array.dtype
            np.testing.assert_array_equal(back[name], array)
            assert not back[name].flags.writeable


def test_columns_that_are_not_contiguous_are_copied_right() -> None:
    base = np.arange(60).reshape(5, 3, 4)
    columns = {"turned": base.transpose(0, 2, 1), "every_second": base[:, 0, ::2], "back": np.arange(5)[::-1]}
    back = read_columns(encode_columns(columns))
    for name, array in columns.items():
        np.testing.assert_array_equal(back[name], array)


def test_reading_copies_nothing() -> None:
    raw = encode_columns({"x": np.arange(1000, dtype=np.float32).reshape(100, 10)})
    array, whole = read_columns(raw)["x"], np.frombuffer(raw, np.uint8)
    assert np.shares_memory(array, whole)


def test_several_batches_are_one_table() -> None:
    columns = read_columns(arrow(BATCH, BATCH))
    assert columns["x"].tolist() == [1, 2, 1, 2]
    assert not columns["x"].flags.writeable


def test_the_profile_names_no_value() -> None:
    profile = profile_of({"image": np.zeros((7, 8, 8), np.uint8), "label": np.zeros(7, np.int64)})
    assert isinstance(profile, DatasetProfile)
    assert (profile.rows, [(c.name, c.dtype, c.shape) for c in profile.columns]) == (
        7, [("image", "uint8", (8, 8)), ("label", "int64", ())],
    )  # fmt: skip


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"x": np.zeros(0)},
        {"x": np.zeros((3, 0))},
        {"x": np.float64(1.0)},
        {"x": np.zeros(3), "y": np.zeros(4)},
        {"x": np.zeros(3, bool)},
        {"x": np.zeros(3, complex)},
        {"x": np.array(["a", "b"])},
        {"x": np.array([{}, []], object)},
        {"": np.zeros(3)},
        {"../x": np.zeros(3)},
        {"x" * 65: np.zeros(3)},
        {f"x{i}": np.zeros(3) for i in range(65)},
    ],
)
def test_what_is_no_data_set_is_not_encoded(columns: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match="format.dataset"):
        encode_columns(columns)


def arrow(*batches: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def tensors_with_null() -> Any:
    kind = pa.fixed_shape_tensor(pa.int32(), (2,))
    return pa.ExtensionArray.from_storage(kind, pa.array([[1, None], [3, 4]], pa.list_(pa.int32(), 2)))


BATCH = pa.record_batch([pa.array([1, 2])], names=["x"])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"ARROW1\0\0",
        encode_columns({"x": np.zeros(3)})[:-1],
        encode_columns({"x": np.zeros(3)}) + b"\0",
        encode_columns({"x": np.zeros(3)})[8:],
        arrow(BATCH)[:-30] + arrow(BATCH)[-10:],
        arrow(pa.record_batch([pa.array([1, None])], names=["x"])),
        arrow(pa.record_batch([tensors_with_null()], names=["x"])),
        arrow(pa.record_batch([pa.array(["a", "b"])], names=["x"])),
        arrow(pa.record_batch([pa.array([[1], [2, 3]])], names=["x"])),
        arrow(pa.record_batch([pa.array([True, False])], names=["x"])),
        arrow(pa.record_batch([pa.array([1, 2]), pa.array([3, 4])], names=["x", "x"])),
        arrow(pa.record_batch([pa.array([], pa.int64())], names=["x"])),
    ],
    ids=["empty", "magic alone", "cut", "trailing byte", "no start", "no footer", "null", "null in a tensor", "text",
         "lists", "booleans", "one name twice", "no rows"],
)  # fmt: skip
def test_what_is_no_data_set_is_not_read(raw: bytes) -> None:
    with pytest.raises(FormatError, match="format.dataset"):
        read_columns(raw)
