"""A model file holds exactly the tensors of its bundle's layout."""

import numpy as np
import pytest
from safetensors.numpy import save

from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec
from common.errors import FormatError
from common.exchange.steering import DESIGN_BYTES, MAX_DESIGN_BYTES
from common.model_file import decode_document, decode_int8, decode_model, encode_model
from common.sandboxed.quantised_layout import Finding, Findings
from tests.fakes.plain_designs import designing_bundle

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
        decode_model(payload[: 40 + DESIGN_BYTES] + save(tensors), BUNDLE)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw[:30],
        lambda raw: b"X" + raw[1:],
        lambda raw: raw[:50],
        lambda raw: raw[:4] + b"\2" + raw[5:],
        lambda raw: raw[: 40 + DESIGN_BYTES + 9],
    ],
)
def test_other_bytes_are_refused(change: object) -> None:
    payload, _ = encode_model(STATE_P, BUNDLE)
    with pytest.raises(FormatError, match=r"format\.model"):
        decode_model(change(payload), BUNDLE)  # type: ignore[operator]


DESIGNS = designing_bundle().manifest
DESIGNED_P = np.arange(DESIGNS.state_count, dtype=np.float32)


@pytest.mark.parametrize("document", [b"", b"{}", bytes(MAX_DESIGN_BYTES - 1) + b"}"])
def test_a_model_of_design_code_holds_its_design_and_is_of_one_size(document: bytes) -> None:
    payload, weights = encode_model(DESIGNED_P, DESIGNS, document)
    state_P, digest = decode_model(payload, DESIGNS)
    np.testing.assert_array_equal(state_P, DESIGNED_P)
    assert (decode_document(payload, DESIGNS), digest) == (document, weights)
    assert len(payload) == len(encode_model(0 * DESIGNED_P, DESIGNS)[0])


def test_the_digest_of_the_weights_covers_the_design() -> None:
    payload, weights = encode_model(DESIGNED_P, DESIGNS, b"{}")
    changed = payload[:44] + b"[" + payload[45:]
    assert decode_document(changed, DESIGNS) == b"[}"
    assert decode_model(changed, DESIGNS)[1] != weights


def test_a_design_has_no_bytes_behind_it() -> None:
    payload, _ = encode_model(DESIGNED_P, DESIGNS, b"{}")
    with pytest.raises(FormatError, match=r"format\.model"):
        decode_document(payload[:50] + b"x" + payload[51:], DESIGNS)


def test_models_of_code_and_of_designs_are_not_taken_for_each_other() -> None:
    for payload, bundle in (
        (encode_model(STATE_P, BUNDLE)[0], DESIGNS),
        (encode_model(DESIGNED_P, DESIGNS)[0], BUNDLE),
    ):
        with pytest.raises(FormatError, match=r"format\.model"):
            decode_model(payload, bundle)
    assert decode_document(encode_model(STATE_P, BUNDLE)[0], BUNDLE) == b""


def test_the_graph_of_native_code_shows_in_no_size() -> None:
    without, with_graph = (encode_model(STATE_P, BUNDLE, document)[0] for document in (b"", b"a graph"))
    assert len(without) == len(with_graph)
    assert (decode_document(without, BUNDLE), decode_document(with_graph, BUNDLE)) == (b"", b"a graph")
    np.testing.assert_array_equal(decode_model(with_graph, BUNDLE)[0], STATE_P)


def test_padding_that_is_none_is_refused() -> None:
    payload = bytearray(encode_model(STATE_P, BUNDLE)[0])
    payload[40 + DESIGN_BYTES - 1] = 1
    with pytest.raises(FormatError, match=r"format\.model"):
        decode_document(bytes(payload), BUNDLE)


def test_a_model_from_before_graphs_is_read() -> None:
    payload, _ = encode_model(STATE_P, BUNDLE)
    old = b"CLMF\1\0\0\0" + payload[8:40] + payload[40 + DESIGN_BYTES :]
    np.testing.assert_array_equal(decode_model(old, BUNDLE)[0], STATE_P)
    assert decode_document(old, BUNDLE) == b""


KEPT = Findings(Finding.JUDGED, 200, 90.0, 89.9, np.array([[0.0, 1.5]], np.float32))


def test_what_was_found_of_int8_comes_back_and_shows_in_no_size() -> None:
    kept, other = (encode_model(STATE_P, BUNDLE, b"{}", found)[0] for found in (KEPT, Findings(Finding.NOTHING)))
    assert len(kept) == len(other)
    assert kept[:8] == other[:8] != encode_model(STATE_P, BUNDLE, b"{}")[0][:8]
    for payload in (kept, other):
        np.testing.assert_array_equal(decode_model(payload, BUNDLE)[0], STATE_P)
        assert decode_document(payload, BUNDLE) == b"{}"
    read = decode_int8(kept, BUNDLE)
    assert read is not None
    assert read.encode() == KEPT.encode()
    assert decode_int8(encode_model(STATE_P, BUNDLE, b"{}")[0], BUNDLE) is None


def test_false_findings_in_a_model_are_refused() -> None:
    payload = bytearray(encode_model(STATE_P, BUNDLE, b"{}", KEPT)[0])
    payload[40 + DESIGN_BYTES] = 99
    with pytest.raises(FormatError, match=r"format\.model"):
        decode_int8(bytes(payload), BUNDLE)
