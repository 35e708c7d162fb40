"""Parsers of what lies sealed in stores, and of what was sealed in it (side: library)."""

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np

from client.png_reader import SIGNATURE
from client.query_rows import read_rows
from common.bundle import BundleManifest, ColumnSpec, StateTensor, TensorSpec, design_layout
from common.crypto.aead import open_blob
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.wrapping import WrappingKey
from common.dataset_payload import encode_columns, read_columns
from common.dataset_reading import UnitReader
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest
from common.model_file import decode_document, decode_model, encode_model
from common.sealed_object.layout import HEADER_BYTES, ObjectHeader
from common.sealed_object.reading import ObjectReader
from services.attestation.state import StateKeys
from tests.parsers.parser import Parser, from_hex
from tests.vectors.vector_file import OPENS, read_vectors

_SEALED: Final = next(one for one in read_vectors("sealed_object/sealed_object.json") if one["outcome"] == OPENS)
_BLOB: Final = read_vectors("crypto/blobs.json")[0]
_WRAPPED: Final = read_vectors("crypto/wrapped.json")[0]
_MODELS: Final = read_vectors("model/models.json")
_STATE: Final = read_vectors("attestation/sealed_state.json")[0]
_LAYOUT: Final = BundleManifest(
    name="vectors",
    bundle_version="1",
    entry="module:Model",
    input=ColumnSpec(column="x", shape=(2,), dtype="float32"),
    label=ColumnSpec(column="y", shape=(), dtype="int64"),
    answer=TensorSpec(shape=(2,), dtype="float32"),
    layout=tuple(StateTensor(name=one["name"], shape=tuple(one["shape"])) for one in _MODELS[0]["layout"]),
)
_DESIGNS: Final = BundleManifest(
    **{name: getattr(_LAYOUT, name) for name in ("name", "bundle_version", "entry", "input", "label", "answer")},
    kind="wasm",
    max_parameters=200,
    layout=design_layout(200),
)


def _header(raw: bytes) -> bytes:
    return ObjectHeader.parse(raw).encode()


def _sealed_object(raw: bytes) -> None:
    """The whole object as one run of bytes: no other than the seed has its root."""
    header, body = raw[:HEADER_BYTES], raw[HEADER_BYTES:]
    size = len(bytes.fromhex(_SEALED["leaves"][1]))
    key, root = SecretKey(bytes.fromhex(_SEALED["key"])), Digest(_SEALED["root"])
    reader = ObjectReader(
        key, header, _SEALED["chunk_count"], lambda chunk: body[chunk * size : (chunk + 1) * size], root=root
    )
    reader.read_all()


def _blob(raw: bytes) -> None:
    key, label = SecretKey(bytes.fromhex(_BLOB["key"])), bytes.fromhex(_BLOB["label"])
    open_blob(key, label, raw, *from_hex(*_BLOB["aad"]))


def _ring(raw: bytes) -> bytes:
    return KeyRing.decode_unwrapped(raw).encode_for_wrapping()


def _wrapped(raw: bytes) -> None:
    WrappingKey(bytes.fromhex(_WRAPPED["seed"])).open_ring(raw, bytes.fromhex(_WRAPPED["info"]))


def _state_blob(raw: bytes) -> None:
    StateKeys(SecretKey(bytes.fromhex(_STATE["key"]))).open_entry(raw, 0, bytes(32))


def _dataset(raw: bytes) -> bytes:
    return encode_columns(read_columns(raw))


def _unit(raw: bytes) -> None:
    """The first unit, whose schema says how all are laid out."""
    reader = UnitReader.begin(raw[:1024], 1024)
    if reader is not None:
        reader.read(0, raw)


def _model(raw: bytes) -> None:
    decode_model(raw, _LAYOUT)


def _designed_model(raw: bytes) -> None:
    decode_model(raw, _DESIGNS)
    decode_document(raw, _DESIGNS)


def _array_file(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "rows.npz")
        path.write_bytes(raw)
        read_rows(path)


def _image_file(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "row.png")
        path.write_bytes(raw)
        read_rows(path)


def _text_file(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "rows.csv")
        path.write_bytes(raw)
        read_rows(path)


def _image() -> bytes:
    """4 x 2 grey pixels."""
    header = struct.pack(">IIBBBBB", 4, 2, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\x01abcd\x04efgh")), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _arrays() -> tuple[bytes, ...]:
    plain, packed = io.BytesIO(), io.BytesIO()
    np.save(plain, np.arange(6, dtype=np.float32).reshape(2, 3))
    np.savez_compressed(packed, x=np.arange(6))
    return plain.getvalue(), packed.getvalue()


def _payloads(path: str, field: str) -> tuple[bytes, ...]:
    return from_hex(*(one[field] for one in read_vectors(path)))


PARSERS: Final = (
    Parser("object-header", _header, from_hex(_SEALED["leaves"][0])),
    Parser("sealed-object", _sealed_object, from_hex("".join(_SEALED["leaves"])), (FormatError, AuthenticityError)),
    Parser("blob", _blob, _payloads("crypto/blobs.json", "blob"), (AuthenticityError,)),
    Parser("key-ring", _ring, _payloads("crypto/rings.json", "ring")),
    Parser("wrapped-key", _wrapped, from_hex(_WRAPPED["wrapped"]), (AuthenticityError,)),
    Parser("state-blob", _state_blob, from_hex(*_STATE["chain"]), (AuthenticityError,)),
    Parser("dataset", _dataset, _payloads("dataset/datasets.json", "payload"), canonical=False),
    Parser("dataset-unit", _unit, from_hex(read_vectors("dataset/units.json")[0]["plain"])),
    Parser("model", _model, _payloads("model/models.json", "payload")),
    Parser("designed-model", _designed_model, (encode_model(np.zeros(200, np.float32), _DESIGNS, b"{}")[0],)),
    Parser("array-file", _array_file, _arrays()),
    Parser("image-file", _image_file, (_image(),)),
    Parser("text-file", _text_file, (b"a,b\n1,2.5\n-3,4e5\n",)),
)
