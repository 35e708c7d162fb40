"""Synthetic rows are of the declared shape and type, within bounds, and the same for a seed."""

from pathlib import Path

import numpy as np
import pytest

from client.checking.synthetic import Schema, declared_schema, read_schema, synthetic_rows, taken
from common.bundle import BundleDescription, ColumnSpec, TensorSpec
from common.errors import FormatError


def description(label: str = "int64", answer: tuple[int, ...] = (10,)) -> BundleDescription:
    return BundleDescription(
        name="a",
        bundle_version="1",
        entry="model:Model",
        input=ColumnSpec(column="image", shape=(2, 3), dtype="uint8"),
        label=ColumnSpec(column="label", shape=(), dtype=label),  # type: ignore[arg-type]
        answer=TensorSpec(shape=answer, dtype="float32"),
    )


def test_what_a_description_declares() -> None:
    rows = synthetic_rows(declared_schema(description()), 500, seed=1)
    assert (rows["image"].shape, rows["image"].dtype.name) == ((500, 2, 3), "uint8")
    assert (rows["label"].shape, rows["label"].dtype.name) == ((500,), "int64")
    assert int(rows["image"].max()) == 255
    assert set(rows["label"].tolist()) == set(range(10))


@pytest.mark.parametrize(
    ("label", "answer", "values"),
    [("int64", (1,), {0, 1}), ("int64", (), {0, 1}), ("int8", (1000,), set(range(127))), ("bool", (2,), {False, True})],
)
def test_labels_count_the_classes_of_the_answer(label: str, answer: tuple[int, ...], values: set[int]) -> None:
    found = synthetic_rows(declared_schema(description(label, answer)), 20_000, seed=1)["label"]
    assert set(found.tolist()) == values


def test_a_seed_makes_its_rows() -> None:
    schema = declared_schema(description())
    one, two, other = (synthetic_rows(schema, 9, seed) for seed in (1, 1, 2))
    assert np.array_equal(one["image"], two["image"])
    assert not np.array_equal(one["image"], other["image"])


def test_rows_begin_anew_where_they_end() -> None:
    assert taken({"x": np.arange(5)}, 3, 4)["x"].tolist() == [3, 4, 0, 1]


def test_a_schema_file_says_what_a_data_set_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "schema.toml"
    path.write_text('rows = 7\n[columns.age]\nshape = []\ndtype = "float32"\nlow = 18\nhigh = 90\n')
    schema = read_schema(path)
    assert schema.rows == 7
    ages = synthetic_rows(schema, 1000, seed=1)["age"]
    assert ages.dtype.name == "float32"
    assert (float(ages.min()) >= 18, float(ages.max()) <= 90) == (True, True)


@pytest.mark.parametrize(
    "text",
    [
        "rows = 7",
        "[columns.x]\nshape = [2]",
        '[columns.x]\nshape = [2]\ndtype = "object"',
        '[columns.x]\nshape = [2]\ndtype = "uint8"\nlow = 3',
        '[columns.x]\nshape = [2]\ndtype = "uint8"\nlow = 3\nhigh = 2',
        '[columns."a b"]\nshape = [2]\ndtype = "uint8"',
        "not toml",
    ],
)
def test_a_schema_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "schema.toml"
    path.write_text(text)
    with pytest.raises(FormatError, match="format.schema"):
        read_schema(path)


def test_bounds_outside_of_a_type_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside"):
        Schema.model_validate_json('{"columns": {"x": {"shape": [], "dtype": "uint8", "low": -1, "high": 300}}}')
