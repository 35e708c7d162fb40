"""What payloads say: states (fp32), deltas (bf16 with error feedback), a round's figures (side: library).

P parameters, padded with zeros to the order's `state_class`. All numbers little-endian, as NumPy holds them in memory.

    STATE   P x float32
    DELTA   P x bfloat16, then figures
    NOTE    figures alone: the provider's code failed and there is no delta any more

bfloat16 is the upper half of a float32, rounded to nearest, ties to even (Intel, BFLOAT16 Hardware Numerics Definition,
2018); a value that would round to infinity becomes the largest finite one. Error feedback (Seide et al., Interspeech
2014; Karimireddy et al. 2019, arXiv 1901.09847): what rounding took from one delta is added to the next.
"""

import math
import struct
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from common.errors import FormatError
from common.refusals import REFUSALS
from common.refused_calls import NONE_REFUSED, RefusedCalls

StateP = NDArray[np.float32]
Buffer = bytes | bytearray | memoryview

_FIGURES: Final = struct.Struct("<fIQHHI")
FIGURES_BYTES: Final = _FIGURES.size

_LARGEST_BF16: Final = np.uint16(0x7F7F)

_LARGEST_DELTA: Final = np.float32(1e38)
"""Far above any useful delta, and below half of the largest float32, so that sum and residual stay finite."""

_LARGEST_LOSS: Final = 3e38
"""Larger ones, infinities and NaN travel as "no loss"."""

STOPPED: Final = "provider.stopped"
"""In a delta: the design has ended the training, so this counts for nothing. Training goes on, for nobody must see."""

OUTCOME_CODES: Final = (
    None,
    "provider.import",
    "provider.raised",
    "provider.timeout",
    "provider.killed",
    "provider.output",
    "provider.input",
    "format.bundle",
    "format.dataset",
    "confinement.failed",
    "unavailable.enclave",
    "authenticity.sealed_object",
    "not_found.object",
    "format.design",
    "provider.differs",
    STOPPED,
    "unavailable.toolchain",
)
"""Codes by their number on the wire. Append only: a number keeps its meaning; and no more than a leak's bound counts
(common/leakage, FAILURES)."""

_TOLD_AS: Final = {"confinement.gpu": "confinement.failed"}
"""Of other codes, the one of these that says most."""


@dataclass(frozen=True)
class Figures:
    """What a round says of itself to the data's owner. `rows`, of its member's part of the data, weigh its delta.

    `code` ends its member, but for `STOPPED`. `refused`: calls that provider code was refused so far; none where the
    owners' policies let nobody know. `chunks`: of its data, which it has asked for so far.
    """

    loss: float | None
    steps: int
    rows: int
    code: str | None = None
    refused: RefusedCalls = NONE_REFUSED
    chunks: int = 0

    def encode(self) -> bytes:
        """24 bytes. A code that is not in the table travels as `unavailable.enclave`."""
        code = _TOLD_AS.get(self.code or "", self.code)
        code = code if code in OUTCOME_CODES else "unavailable.enclave"
        loss = math.nan if self.loss is None or not abs(self.loss) < _LARGEST_LOSS else self.loss
        return _FIGURES.pack(loss, self.steps, self.rows, OUTCOME_CODES.index(code), self.refused.number, self.chunks)

    @classmethod
    def parse(cls, raw: Buffer) -> Self:
        """Raises `FormatError`."""
        if len(raw) != _FIGURES.size:
            raise FormatError("format.frame", expected=f"figures of {_FIGURES.size} bytes")
        loss, steps, rows, code, refused, chunks = _FIGURES.unpack(raw)
        if code >= len(OUTCOME_CODES):
            raise FormatError("format.frame", expected="a known code number")
        known = RefusedCalls.of_number(refused)
        return cls(loss if math.isfinite(loss) else None, steps, rows, OUTCOME_CODES[code], known, chunks)


if not REFUSALS.keys() >= set(OUTCOME_CODES[1:]):
    raise RuntimeError("OUTCOME_CODES names a code that common/refusals.py lacks")


def pad_state(state_P: StateP, state_class: int) -> StateP:
    """A copy with zeros up to `state_class`. Raises `FormatError` when it is larger."""
    if state_P.ndim != 1 or state_P.size > state_class:
        raise FormatError("format.model", expected=f"at most {state_class} values", seen=state_P.shape)
    padded_P = np.zeros(state_class, np.float32)
    padded_P[: state_P.size] = state_P
    return padded_P


def encode_state(state_P: StateP) -> memoryview:
    """A STATE payload of an already padded state: its own memory, which must not change any more.

    Copying a large one would keep the interpreter from the clock.
    """
    return np.ascontiguousarray(state_P, "<f4").view(np.uint8).data


def decode_state(payload: Buffer, state_class: int) -> StateP:
    """The state in a STATE payload, not copied. Raises `FormatError` for another size or a value that is not finite."""
    if len(payload) != 4 * state_class:
        raise FormatError("format.frame", expected=f"{4 * state_class} bytes of state")
    state_P = np.frombuffer(payload, "<f4")
    if not np.isfinite(state_P).all():
        raise FormatError("format.frame", expected="finite values")
    return state_P


def to_bf16(values_P: StateP) -> NDArray[np.uint16]:
    """Round finite float32 values to bfloat16, nearest even, saturating."""
    bits_P = values_P.view(np.uint32)
    rounded_P = ((bits_P + np.uint32(0x7FFF) + ((bits_P >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
        np.uint16
    )
    overflow_P = (rounded_P & np.uint16(0x7FFF)) > _LARGEST_BF16
    rounded_P[overflow_P] = (rounded_P[overflow_P] & np.uint16(0x8000)) | _LARGEST_BF16
    return rounded_P


def from_bf16(half_P: NDArray[np.uint16]) -> StateP:
    """The float32 values of bfloat16 bits, exactly."""
    return (half_P.astype(np.uint32) << np.uint32(16)).view(np.float32)


class DeltaEncoder:
    """Encodes one member's deltas, carrying what rounding took from each into the next."""

    def __init__(self, state_class: int) -> None:
        self.residual_P: StateP = np.zeros(state_class, np.float32)

    def encode(self, delta_P: StateP, figures: Figures) -> memoryview:
        """A DELTA payload of a padded, finite delta."""
        with np.errstate(over="ignore"):
            wanted_P = np.clip(delta_P + self.residual_P, -_LARGEST_DELTA, _LARGEST_DELTA)
        half_P = to_bf16(wanted_P)
        self.residual_P = wanted_P - from_bf16(half_P)
        payload = np.empty(half_P.nbytes + FIGURES_BYTES, np.uint8)
        payload[: half_P.nbytes] = half_P.astype("<u2", copy=False).view(np.uint8)
        payload[half_P.nbytes :] = np.frombuffer(figures.encode(), np.uint8)
        return payload.data


def decode_delta(payload: Buffer, state_class: int) -> tuple[StateP, Figures]:
    """Delta and figures of a DELTA payload. Raises `FormatError` for another size or a value that is not finite."""
    if len(payload) != 2 * state_class + FIGURES_BYTES:
        raise FormatError("format.frame", expected=f"a delta of {state_class} values")
    view = memoryview(payload)
    delta_P = from_bf16(np.frombuffer(view[: 2 * state_class], "<u2"))
    if not np.isfinite(delta_P).all():
        raise FormatError("format.frame", expected="finite values")
    return delta_P, Figures.parse(view[2 * state_class :])
