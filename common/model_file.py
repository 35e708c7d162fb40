"""The plaintext of a sealed model: one state vector as safetensors, behind a salt (side: library; enclaves use it).

    magic `CLMF`, version 01, zeros (3)
    salt (32), fresh for each model
    safetensors: one float32 tensor for each entry of the bundle's layout, by name; metadata {"layout": layout digest}

The manifest's `weights` digest is SHA-256 over salt and safetensors, so that equal weights in two models are not seen
to be equal. P is the number of float32 values of the state, in the layout's order.
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
from common.identifiers import Digest

_MAGIC: Final = b"CLMF\x01\x00\x00\x00"
_SALT_BYTES: Final = 32


def encode_model(state_P: NDArray[np.float32], bundle: BundleManifest) -> tuple[bytes, Digest]:
    """The payload to seal, and the manifest's `weights` digest."""
    if state_P.shape != (bundle.state_count,) or state_P.dtype != np.float32:
        raise FormatError("format.model", expected=f"{bundle.state_count} float32 values", seen=state_P.shape)
    tensors, at = {}, 0
    for tensor in bundle.layout:
        tensors[tensor.name] = state_P[at : at + tensor.count].reshape(tensor.shape)
        at += tensor.count
    body = secrets.token_bytes(_SALT_BYTES) + save(tensors, metadata={"layout": bundle.layout_digest})
    return _MAGIC + body, sha256(body)


def decode_model(payload: bytes, bundle: BundleManifest) -> tuple[NDArray[np.float32], Digest]:
    """The state vector and the `weights` digest, which the caller holds against the manifest.

    Raises `FormatError` (format.model) when the tensors are not exactly those of the bundle's layout, or not finite.
    """
    if payload[: len(_MAGIC)] != _MAGIC or len(payload) < len(_MAGIC) + _SALT_BYTES:
        raise FormatError("format.model", expected="a model file of version 1")
    body = payload[len(_MAGIC) :]
    try:
        tensors = load(body[_SALT_BYTES:])
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
