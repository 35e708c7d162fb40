"""What is said of a design: its document goes up, the course of the training comes down (side: library).

A job whose bundle is design code has no layout before its data were seen: each trainer's design code writes a document,
the same at all of them, and steers by the losses of the whole job.

    DESIGN     length u32 | document | zeros, `DESIGN_BYTES` in all
    STEERING   SHA-256 of the document 32 | epochs that are over u32 | `MAX_EPOCHS` x float32: the loss of each, NaN
               where none was told, zeros after the last

Little-endian. An epoch is `rounds_per_epoch` rounds, a public number. Every STEERING has the whole past, so that a
trainer which joins late tells its design code what all others told theirs.
"""

import math
import struct
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from common.crypto.digests import sha256
from common.errors import FormatError
from common.exchange.payloads import Buffer
from common.identifiers import Digest
from common.messages.order import Schedule

DESIGN_BYTES: Final = 128 << 10
"""Of the payload: a ResNet-50 takes 60 kB of JSON. One size, so that no host sees how large a design is."""

MAX_DESIGN_BYTES: Final = DESIGN_BYTES - 4
"""Of the document."""

MAX_EPOCHS: Final = 256
"""Of a job: design code is asked at most so often."""

_LENGTH: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<32sI")
STEERING_BYTES: Final = _HEAD.size + 4 * MAX_EPOCHS


def rounds_per_epoch(schedule: Schedule) -> int:
    """After so many rounds design code is asked how to go on."""
    return -(-schedule.rounds // MAX_EPOCHS)


def pad_design(document: bytes) -> bytes:
    """A DESIGN payload; no document is an empty one. Raises `FormatError` (format.design) for one that is too large."""
    if len(document) > MAX_DESIGN_BYTES:
        raise FormatError("format.design", expected=f"at most {MAX_DESIGN_BYTES} bytes in a job", seen=len(document))
    return (_LENGTH.pack(len(document)) + document).ljust(DESIGN_BYTES, b"\0")


def unpad_design(payload: Buffer) -> bytes:
    """The document. Raises `FormatError` (format.frame) for anything that `pad_design` does not make."""
    raw = bytes(payload)
    (length,) = _LENGTH.unpack_from(raw) if len(raw) == DESIGN_BYTES else (DESIGN_BYTES,)
    if length > MAX_DESIGN_BYTES or raw[_LENGTH.size + length :].strip(b"\0"):
        raise FormatError("format.frame", expected=f"a design in {DESIGN_BYTES} bytes")
    return raw[_LENGTH.size : _LENGTH.size + length]


@dataclass(frozen=True)
class Steering:
    """Whose design the job trains, and the loss of each epoch that is over (None: no member told one)."""

    design: Digest
    losses: tuple[float | None, ...] = ()

    @classmethod
    def begin(cls, document: bytes) -> Self:
        """Before the first epoch is over."""
        return cls(sha256(document))

    def encode(self) -> bytes:
        """A STEERING payload. Losses become float32, which is what all members then see."""
        told = [math.nan if loss is None else loss for loss in self.losses]
        with np.errstate(over="ignore"):
            losses = np.zeros(MAX_EPOCHS, "<f4")
            losses[: len(told)] = told
        return _HEAD.pack(self.design.raw(), len(told)) + losses.tobytes()

    @classmethod
    def parse(cls, payload: Buffer) -> Self:
        """Raises `FormatError` (format.frame)."""
        if len(payload) != STEERING_BYTES:
            raise FormatError("format.frame", expected=f"{STEERING_BYTES} bytes of steering")
        design, count = _HEAD.unpack_from(payload)
        if count > MAX_EPOCHS:
            raise FormatError("format.frame", expected=f"at most {MAX_EPOCHS} epochs", seen=count)
        if bytes(memoryview(payload)[_HEAD.size + 4 * count :]).strip(b"\0"):
            raise FormatError("format.frame", expected="zeros behind the last epoch")
        losses = np.frombuffer(payload, "<f4", count, _HEAD.size).tolist()
        return cls(Digest.of(design), tuple(loss if math.isfinite(loss) else None for loss in losses))


class EpochLosses:
    """Gathers rounds into epochs. `told` has one entry for each epoch that is over."""

    def __init__(self, schedule: Schedule) -> None:
        self._rounds, self._epoch = rounds_per_epoch(schedule), list[float | None]()
        self.told: tuple[float | None, ...] = ()

    @property
    def since(self) -> tuple[float | None, ...]:
        """Of the rounds since the last epoch was over."""
        return tuple(self._epoch)

    def resume(self, told: tuple[float | None, ...], since: tuple[float | None, ...]) -> None:
        """Go on from there."""
        self.told, self._epoch = told, list(since)

    def add(self, loss: float | None) -> None:
        """A round is over; an epoch's loss is the mean of those that its rounds told."""
        self._epoch.append(loss)
        if len(self._epoch) == self._rounds:
            known = [one for one in self._epoch if one is not None]
            self.told += (math.fsum(known) / len(known) if known else None,)
            self._epoch.clear()
