"""A model file holds exactly the tensors of its bundle's layout."""

import numpy as np
import pytest
from safetensors.numpy import save

from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.errors import FormatError
from common.model_file import decode_model, encode_model

BUNDLE = BundleManifest(
    name="test", bundle_version="1", entry="module:Model", input=ColumnSpec(column="x", shape=(3,), dtype="float32"),
    label=ColumnSpec(column="y", shape=(), dtype="int64"), answer=TensorSpec(shape=(2,), dtype="float32"),
    layout=(StateTensor(name="weight", shape=(2, 3)), StateTensor(name="bias", shape=(2,)),
            StateTensor(name="scale", shape=())),
)  # fmt: skip
STATE_P = np.arange(9, dtype=np.float32)


def test_a_state_comes_back_in_the_layouts_order() -> None:
    payload, weights = encode_model(STATE_P, BUNDLE)
    state_P, digest = decode_model(payload, BUNDLE)
    np.testing.assert_array_equal(state_P, STATE_P)
    assert digest == weights


def test_equal_weights_have_different_digests() -> None:
    assert encode_model(STATE_P, BUNDLE)[1] != encode_model(STATE_P, BUNDLE)[1]


@pytest.mark.parametrize("state_P", [STATE_P[:8], STATE_P.astype(np.float64), STATE_P.reshape(3, 3)])
def test_a_state_of_another_form_is_not_encoded(state_P: np.ndarray) -> None:
    with pytest.raises(FormatError, match=r"format\.model"):
        encode_model(state_P, BUNDLE)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)},
        {"weight": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32), "scale": np.zeros((), np.float32)},
        {"weight": np.zeros((2, 3), np.float64), "bias": np.zeros(2, np.float32), "scale": np.zeros((), np.float32)},
        {
            "weight": np.full((2, 3), np.nan, np.float32),
            "bias": np.zeros(2, np.float32),
            "scale": np.zeros((), np.float32),
        },
    ],
)
def test_other_tensors_are_refused(tensors: dict[str, np.ndarray]) -> None:
    payload, _ = encode_model(STATE_P, BUNDLE)
    with pytest.raises(FormatError, match=r"format\.model"):
        decode_model(payload[:40] + save(tensors), BUNDLE)


@pytest.mark.parametrize(
    "change",
    [lambda raw: raw[:30], lambda raw: b"X" + raw[1:], lambda raw: raw[:50], lambda raw: raw[:4] + b"\2" + raw[5:]],
)
def test_other_bytes_are_refused(change: object) -> None:
    payload, _ = encode_model(STATE_P, BUNDLE)
    with pytest.raises(FormatError, match=r"format\.model"):
        decode_model(change(payload), BUNDLE)  # type: ignore[operator]
