"""The plaintext of a sealed model: one state vector as safetensors, behind a salt (side: library; enclaves use it).

    magic `CLMF`, version 01, or 02 where the bundle is design code; zeros (3)
    salt (32), fresh for each model
    design, version 02 alone: a DESIGN payload (common/exchange/steering.py); no document where nothing was designed
    safetensors: one float32 tensor for each entry of the bundle's layout, by name; metadata {"layout": layout digest}

The manifest's `weights` digest is SHA-256 over all from the salt on, so that equal weights in two models are not seen
to be equal. P is the number of float32 values of the state, in the layout's order. The layout of design code is one
tensor, as large as a design may be: what was designed shows in no size.
"""

import secrets
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from common.bundle import BundleManifest
from common.crypto.digests import sha256
from common.errors import FormatError
from common.exchange.steering import DESIGN_BYTES, pad_design, unpad_design
from common.identifiers import Digest

_SALT_BYTES: Final = 32


def encode_model(state_P: NDArray[np.float32], bundle: BundleManifest, design: bytes = b"") -> tuple[bytes, Digest]:
    """The payload to seal, and the manifest's `weights` digest. `design`: the document, where the bundle designs."""
    if state_P.shape != (bundle.state_count,) or state_P.dtype != np.float32:
        raise FormatError("format.model", expected=f"{bundle.state_count} float32 values", seen=state_P.shape)
    tensors, at = {}, 0
    for tensor in bundle.layout:
        tensors[tensor.name] = state_P[at : at + tensor.count].reshape(tensor.shape)
        at += tensor.count
    before = pad_design(design) if bundle.designs else b""
    body = secrets.token_bytes(_SALT_BYTES) + before + save(tensors, metadata={"layout": bundle.layout_digest})
    return _magic(bundle) + body, sha256(body)


def decode_model(payload: bytes, bundle: BundleManifest) -> tuple[NDArray[np.float32], Digest]:
    """The state vector and the `weights` digest, which the caller holds against the manifest.

    Raises `FormatError` (format.model) when the tensors are not exactly those of the bundle's layout, or not finite.
    """
    body, begin = _body(payload, bundle)
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


def decode_design(payload: bytes, bundle: BundleManifest) -> bytes:
    """The document in a model of design code, not yet checked; empty where nothing was designed.

    Raises `FormatError` (format.model).
    """
    body, begin = _body(payload, bundle)
    try:
        return unpad_design(body[_SALT_BYTES:begin]) if bundle.designs else b""
    except FormatError as cause:
        raise FormatError("format.model", expected="a padded design") from cause


def _magic(bundle: BundleManifest) -> bytes:
    return b"CLMF" + bytes([2 if bundle.designs else 1]) + bytes(3)


def _body(payload: bytes, bundle: BundleManifest) -> tuple[bytes, int]:
    """All from the salt on, and where the safetensors begin in it."""
    magic, begin = _magic(bundle), _SALT_BYTES + (DESIGN_BYTES if bundle.designs else 0)
    if payload[: len(magic)] != magic or len(payload) < len(magic) + begin:
        raise FormatError("format.model", expected=f"a model file of version {magic[4]}")
    return payload[len(magic) :], begin
