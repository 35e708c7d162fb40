"""Vectors of what is inside sealed objects: data sets, bundles, models (side: library)."""

import hashlib
import io
import json
import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from common.dataset_payload import encode_columns, encode_pieces
from tests.vectors import independent
from tests.vectors.make_crypto import SALT
from tests.vectors.make_exchange import findings
from tests.vectors.vector_file import VectorFile, changed

MODEL: Final = "format.model"
LAYOUT: Final = [{"name": "weight", "shape": [2, 2]}, {"name": "bias", "shape": [2]}]
STATE: Final = (1.0, -2.0, 0.5, 3.0, 0.25, -0.125)
_SOURCE: Final = "made by pyarrow and the product; only reading is tested, for a writer may lay a file out otherwise"


def object_files() -> Iterator[VectorFile]:
    """The deterministic files."""
    yield _models()
    yield _designed_models()
    yield _exported_models()
    yield _int8_models()


def safetensors(tensors: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """The format of github.com/huggingface/safetensors: header length (8, little-endian), JSON, data."""
    header: dict[str, Any] = {"__metadata__": {"layout": hashlib.sha256(_layout_text()).hexdigest()}}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return struct.pack("<Q", len(text)) + text + data


def _layout_text() -> bytes:
    return json.dumps([[one["name"], one["shape"]] for one in LAYOUT], separators=(",", ":")).encode()


def _models() -> VectorFile:
    file = VectorFile("model/models.json", "model file", 10)
    raw = struct.pack("<6f", *STATE)
    tensors = {"weight": ("F32", [2, 2], raw[:16]), "bias": ("F32", [2], raw[16:])}
    body = safetensors(tensors)
    good = independent.model_file(SALT, body)
    weights = hashlib.sha256(SALT + body).digest()
    file.add("good", layout=LAYOUT, payload=good, state=list(STATE), weights=weights)

    def refused(name: str, payload: bytes) -> None:
        file.add(name, MODEL, layout=LAYOUT, payload=payload)

    def other(**changes: tuple[str, list[int], bytes]) -> bytes:
        return independent.model_file(SALT, safetensors(tensors | changes))

    refused("unknown version", changed(good, 4))
    refused("another magic", changed(good, 0))
    refused("reserved bytes", changed(good, 7))
    refused("truncated", good[:-1])
    refused("without safetensors", good[:40])
    refused("trailing byte", good + b"\0")
    refused("a tensor more", other(extra=("F32", [1], raw[:4])))
    refused("another shape", other(weight=("F32", [4], raw[:16])))
    refused("another type", other(bias=("I32", [2], raw[16:])))
    refused("not finite", other(bias=("F32", [2], struct.pack("<2f", 1.0, float("nan")))))
    return file


def _designed_models() -> VectorFile:
    """A payload is `begin`, zeros up to 40 + 2^17 bytes, `tensors`; designs have at most `values` values."""
    file = VectorFile("model/designed_models.json", "model file of design code, without the design's padding", 10)
    document, values = b'{"type":"design"}', 4
    raw = struct.pack("<4f", *STATE[:values])
    tensors = safetensors({"design": ("F32", [values], raw)})

    def body(text: bytes) -> bytes:
        return (SALT + struct.pack("<I", len(text)) + text).ljust(32 + (1 << 17), b"\0") + tensors

    begin = b"CLMF\x02\0\0\0" + SALT + struct.pack("<I", len(document)) + document
    common: dict[str, Any] = {"values": values, "tensors": tensors}
    file.add("good", begin=begin, document=document, state=list(STATE[:values]),
             weights=hashlib.sha256(body(document)).digest(), **common)  # fmt: skip
    file.add("nothing designed", begin=b"CLMF\x02\0\0\0" + SALT, document=b"", state=list(STATE[:values]),
             weights=hashlib.sha256(body(b"")).digest(), **common)  # fmt: skip
    file.add("of code", MODEL, begin=changed(begin, 4), **common)
    file.add("bytes behind the design", MODEL, begin=begin + b"\0x", **common)
    file.add("a longer state", MODEL, begin=begin, values=values - 1, tensors=tensors)
    return file


def _exported_models() -> VectorFile:
    """Like designed ones, of a bundle of native code; the tensors are those of the layout."""
    file = VectorFile("model/exported_models.json", "model file of native code, without the graph's padding", 10)
    document, raw = b'{"type":"model-graph"}', struct.pack("<6f", *STATE)
    tensors = safetensors({"weight": ("F32", [2, 2], raw[:16]), "bias": ("F32", [2], raw[16:])})

    def add(name: str, text: bytes) -> bytes:
        graph = struct.pack("<I", len(text)) + text
        weights = hashlib.sha256((SALT + graph).ljust(32 + (1 << 17), b"\0") + tensors).digest()
        begin = b"CLMF\x03\0\0\0" + SALT + graph
        file.add(name, layout=LAYOUT, begin=begin, tensors=tensors, state=list(STATE), document=text, weights=weights)
        return begin

    begin = add("with a graph", document)
    add("code that does not export", b"")
    file.add("of design code", MODEL, layout=LAYOUT, begin=changed(begin, 4), tensors=tensors)
    file.add("bytes behind the graph", MODEL, layout=LAYOUT, begin=begin + b"\0x", tensors=tensors)
    file.add("trailing byte", MODEL, layout=LAYOUT, begin=begin, tensors=tensors + b"\0")
    return file


def _int8_models() -> VectorFile:
    """Of native code, int8 was ordered: `begin`, zeros up to 40 + 2^17 bytes, `findings`, zeros up to 32,788 more,
    `tensors`.
    """
    file = VectorFile("model/int8_models.json", "model file with what was found of int8, without padding", 10)
    document, raw = b'{"type":"model-graph"}', struct.pack("<6f", *STATE)
    tensors = safetensors({"weight": ("F32", [2, 2], raw[:16]), "bias": ("F32", [2], raw[16:])})
    graph = struct.pack("<I", len(document)) + document
    begin = b"CLMF\x06\0\0\0" + SALT + graph
    common: dict[str, Any] = {"layout": LAYOUT, "begin": begin, "tensors": tensors}

    def add(name: str, found: bytes, finding: str) -> None:
        body = (SALT + graph).ljust(32 + (1 << 17), b"\0") + found.ljust(32_788, b"\0") + tensors
        weights = hashlib.sha256(body).digest()
        file.add(name, findings=found, finding=finding, state=list(STATE), document=document, weights=weights, **common)

    add("kept", findings(1, 200, (90.5, 90.0), (0.0, 2.5)), "JUDGED")
    add("not kept", findings(0, 0, (0.0, 0.0)), "NOTHING")
    file.add("an unknown finding", MODEL, findings=findings(11, 0, (0.0, 0.0)), **common)
    file.add("of design code", MODEL, findings=b"", **common | {"begin": changed(begin, 4)})
    return file


def dataset_file() -> VectorFile:
    """Data sets; the bytes depend on pyarrow's version."""
    file = VectorFile("dataset/datasets.json", "data set", 10, _SOURCE)
    columns: dict[str, NDArray[Any]] = {
        "image": np.arange(12, dtype=np.uint8).reshape(2, 3, 2),
        "label": np.array([7, -1], dtype=np.int64),
        "weight": np.array([0.5, 2.0], dtype=np.float32),
    }
    good = encode_columns(columns)
    shown = {name: {"dtype": str(one.dtype), "shape": list(one.shape), "values": one.ravel().tolist()}
             for name, one in columns.items()}  # fmt: skip
    file.add("good", payload=good, columns=shown)
    twice = _arrow([pa.record_batch([pa.array([1])], ["x"])] * 2)
    file.add("two record batches", payload=twice, columns={"x": {"dtype": "int64", "shape": [2], "values": [1, 1]}})
    refused = {
        "truncated": good[:-8],
        "another magic at the end": changed(good, -1),
        "trailing byte": good + b"\0",
        "stream instead of file": _arrow([pa.record_batch([pa.array([1])], ["x"])], stream=True),
        "no rows": _arrow([pa.record_batch([pa.array([], pa.int64())], ["x"])]),
        "a missing value": _arrow([pa.record_batch([pa.array([1, None])], ["x"])]),
        "text": _arrow([pa.record_batch([pa.array(["a"])], ["x"])]),
        "truth values": _arrow([pa.record_batch([pa.array([True])], ["x"])]),
        "two columns of one name": _arrow([pa.record_batch([pa.array([1]), pa.array([2])], ["x", "x"])]),
        "a name that is no identifier": _arrow([pa.record_batch([pa.array([1])], ["a b"])]),
    }
    two = _arrow([pa.record_batch([pa.array([1])], ["x"])] * 2)
    file.add("two record batches", payload=two, columns={"x": {"dtype": "int64", "shape": [2], "values": [1, 1]}})
    for name, payload in refused.items():
        file.add(name, "format.dataset", payload=payload)
    return file


def units_file() -> VectorFile:
    """A payload in units of 8 chunks of `chunk_bytes`: `first` is the plaintext of chunk 0, `plain` that of a unit."""
    file = VectorFile("dataset/units.json", "data set in units", 10, _SOURCE)
    chunk_bytes, rows = 1024, 30
    columns: dict[str, NDArray[Any]] = {
        "image": (np.arange(rows * 600) % 251).astype(np.uint8).reshape(rows, 20, 30),
        "label": np.arange(rows, dtype=np.int16),
    }
    unit = 8 * chunk_bytes
    payload = b"".join(encode_pieces(columns, unit))
    plain = (len(payload).to_bytes(8, "big") + payload).ljust(4 * unit, b"\0")
    first = plain[:chunk_bytes]
    marks = {"unit_bytes": unit, "unit_rows": 12, "rows": rows}
    for number, labels in enumerate((range(12), range(12, 24), range(24, 30), ())):
        piece = plain[number * unit : (number + 1) * unit]
        file.add(f"unit {number}", chunk_bytes=chunk_bytes, marks=marks, first=first, number=number, plain=piece,
                 labels=list(labels))  # fmt: skip
    refused = {
        "another unit": (1, plain[2 * unit : 3 * unit]),
        "cut": (1, plain[unit : 2 * unit - chunk_bytes]),
        "zeros": (1, bytes(unit)),
        "a first unit elsewhere": (1, plain[:unit]),
    }
    for name, (number, piece) in refused.items():
        file.add(name, "format.dataset", chunk_bytes=chunk_bytes, marks=marks, first=first, number=number, plain=piece)
    return file


def _arrow(batches: list[Any], *, stream: bool = False) -> bytes:
    sink = io.BytesIO()
    opened = pa.ipc.new_stream if stream else pa.ipc.new_file
    with opened(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()
