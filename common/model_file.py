"""The plaintext of a sealed model: one state vector as safetensors, behind a salt (side: library; enclaves use it).

    magic `CLMF`, version 02 where the bundle is design code, 01 where it is a design, else 03; three more where int8
              was ordered; zeros (3)
    salt (32), fresh for each model
    document, not in versions 01, 04: a DESIGN payload (common/exchange/steering.py) with the design (02, 05), or with
              the graph that the code exports to (03, 06); an empty one where there is none
    findings, in versions 04 to 06: of int8 (common/sandboxed/quantised_layout.py); NOTHING where it is not kept
    safetensors: one float32 tensor for each entry of the bundle's layout, by name; metadata {"layout": layout digest}

The manifest's `weights` digest is SHA-256 over all from the salt on, so that equal weights in two models are not seen
to be equal. P is the number of float32 values of the state, in the layout's order. The layout of design code is one
tensor, as large as a design may be: what was designed shows in no size, and neither does whether int8 is kept. Version
01 is still read for native code: jobs sealed it before graphs were exported.
"""

import secrets
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.bundle import DESIGN_ENTRY, BundleManifest
from common.crypto.digests import sha256
from common.errors import FormatError
from common.exchange.steering import DESIGN_BYTES, pad_design, unpad_design
from common.identifiers import Digest
from common.sandboxed.quantised_layout import FINDINGS_BYTES, Findings

_SALT_BYTES: Final = 32
_PLAIN, _DESIGNED, _EXPORTED = 1, 2, 3
_WITH_INT8: Final = 3
"""Added to a version where findings of int8 are in it."""


def encode_model(
    state_P: NDArray[np.float32], bundle: BundleManifest, document: bytes = b"", int8: Findings | None = None
) -> tuple[bytes, Digest]:
    """The payload to seal, and the manifest's `weights` digest. `document`: design or graph, empty where none is.

    `int8`: where the order asks for it.
    """
    if state_P.shape != (bundle.state_count,) or state_P.dtype != np.float32:
        raise FormatError("format.model", expected=f"{bundle.state_count} float32 values", seen=state_P.shape)
    tensors, at = {}, 0
    for tensor in bundle.layout:
        tensors[tensor.name] = state_P[at : at + tensor.count].reshape(tensor.shape)
        at += tensor.count
    version = _versions(bundle)[0]
    before = b"" if version == _PLAIN else pad_design(document)
    if int8 is not None:
        version, before = version + _WITH_INT8, before + int8.encode()
    body = secrets.token_bytes(_SALT_BYTES) + before + save(tensors, metadata={"layout": bundle.layout_digest})
    return _magic(version) + body, sha256(body)


def decode_model(payload: bytes, bundle: BundleManifest) -> tuple[NDArray[np.float32], Digest]:
    """The state vector and the `weights` digest, which the caller holds against the manifest.

    Raises `FormatError` (format.model) when the tensors are not exactly those of the bundle's layout, or not finite.
    """
    body, _, begin = _body(payload, bundle)
    try:
        tensors = load(body[begin:])
    except (SafetensorError, ValueError, KeyError) as cause:
        raise FormatError("format.model", expected="safetensors") from cause
    expected = {tensor.name: (tensor.shape, np.dtype(np.float32)) for tensor in bundle.layout}
    if {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()} != expected:
        raise FormatError("format.model", expected="the tensors of the bundle's layout, float32")
    state_P = np.empty(bundle.state_count, dtype=np.float32)
    at = 0
    for entry in bundle.layout:
        state_P[at : at + entry.count] = tensors[entry.name].ravel()
        at += entry.count
    if not np.isfinite(state_P).all():
        raise FormatError("format.model", expected="finite values")
    return state_P, sha256(body)


def decode_document(payload: bytes, bundle: BundleManifest) -> bytes:
    """The design or graph in a model, not yet checked; empty where there is none.

    Raises `FormatError` (format.model).
    """
    body, end, _ = _body(payload, bundle)
    try:
        return unpad_design(body[_SALT_BYTES:end]) if end > _SALT_BYTES else b""
    except FormatError as cause:
        raise FormatError("format.model", expected="a padded document") from cause


def decode_int8(payload: bytes, bundle: BundleManifest) -> Findings | None:
    """What was found of int8; None in a model that it was not ordered for. Raises `FormatError` (format.model)."""
    body, begin, end = _body(payload, bundle)
    try:
        return Findings.parse(body[begin:end]) if end > begin else None
    except ValueError as cause:
        raise FormatError("format.model", expected="findings of int8") from cause


def _versions(bundle: BundleManifest) -> tuple[int, ...]:
    """Those that are read; the first is written."""
    if bundle.designs:
        return (_DESIGNED,)
    return (_PLAIN,) if bundle.entry == DESIGN_ENTRY else (_EXPORTED, _PLAIN)


def _magic(version: int) -> bytes:
    return b"CLMF" + bytes([version]) + bytes(3)


def _body(payload: bytes, bundle: BundleManifest) -> tuple[bytes, int, int]:
    """All from the salt on, and where in it the document ends and the safetensors begin."""
    written, *_ = known = _versions(bundle)
    for version, int8 in ((written, True), *((one, False) for one in known)):
        magic, end = _magic(version + _WITH_INT8 * int8), _SALT_BYTES + (0 if version == _PLAIN else DESIGN_BYTES)
        begin = end + FINDINGS_BYTES * int8
        if payload[: len(magic)] == magic and len(payload) >= len(magic) + begin:
            return payload[len(magic) :], end, begin
    raise FormatError("format.model", expected=f"a model file of version {_versions(bundle)[0]}")
