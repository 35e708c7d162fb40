"""What sealed objects hold: each vector is read as stated, or refused with the stated code."""

from typing import Any

import numpy as np
import pytest

from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.dataset_payload import read_columns
from common.errors import Refusal
from common.model_file import decode_model
from tests.vectors.each_vector import each_vector
from tests.vectors.vector_file import OPENS


def _manifest(layout: list[dict[str, Any]]) -> BundleManifest:
    return BundleManifest(
        name="vectors",
        bundle_version="1",
        entry="module:Model",
        input=ColumnSpec(column="x", shape=(2,), dtype="float32"),
        label=ColumnSpec(column="y", shape=(), dtype="int64"),
        answer=TensorSpec(shape=(2,), dtype="float32"),
        layout=tuple(StateTensor(name=one["name"], shape=tuple(one["shape"])) for one in layout),
    )


@each_vector("model/models.json")
def test_models(vector: dict[str, Any]) -> None:
    payload, manifest = bytes.fromhex(vector["payload"]), _manifest(vector["layout"])
    if vector["outcome"] == OPENS:
        state_P, weights = decode_model(payload, manifest)
        assert state_P.tolist() == vector["state"]
        assert weights == vector["weights"]
        assert manifest.layout_digest.encode() in payload
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            decode_model(payload, manifest)


@each_vector("dataset/datasets.json")
def test_datasets(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["payload"])
    if vector["outcome"] == OPENS:
        columns = read_columns(payload)
        assert list(columns) == list(vector["columns"])
        for name, shown in vector["columns"].items():
            expected = np.array(shown["values"], shown["dtype"]).reshape(shown["shape"])
            assert columns[name].dtype == expected.dtype
            np.testing.assert_array_equal(columns[name], expected)
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            read_columns(payload)
