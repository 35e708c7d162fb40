"""Where a job stands, as bytes of one length (side: enclave; ARCHITECTURE, decision 32).

P parameters padded to the order's `state_class`, K trainers, R rounds of an epoch. All numbers little-endian.

    head        magic "CLCP" 01 | 1 if there is a state u8 | toolchain u8 (common/exchange/toolchain) | zero |
                tick u32 | rounds done u32 | loss f64 | calls that provider code was refused u16 | zeros 2 |
                epochs that are over u32 | rounds since u32
    losses      256 x f64 of the epochs, R x f64 of the rounds since; NaN where none was told, zeros behind the last
    rounds      K x u32: rounds that each trainer's slot delivered
    design      a DESIGN payload (common/exchange/steering); an empty one for no design
    state       P x float32, then P x float32: the outer optimiser's velocity; zeros before there is a state

The length is a function of the signed order alone: a host can't see what a job has learned, or that it has not.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from common.errors import FormatError
from common.exchange.payloads import StateP, encode_state
from common.exchange.steering import DESIGN_BYTES, MAX_EPOCHS, pad_design, rounds_per_epoch, unpad_design
from common.exchange.toolchain import Toolchain
from common.messages.order import Schedule
from common.refused_calls import NONE_REFUSED, RefusedCalls

_HEAD: Final = struct.Struct("<5sBBxIIdH2xII")
_MAGIC: Final = b"CLCP\x01"

Losses = tuple[float | None, ...]


@dataclass(frozen=True)
class JobProgress:
    """What a later launch of the parameter server goes on from. `tick` is the last one that it holds.

    State and velocity are there both or neither. `epochs` and `since` are losses
    (common/exchange/steering.EpochLosses); `delivered` counts the rounds of each slot.
    """

    tick: int
    rounds_done: int = 0
    state_P: StateP | None = None
    velocity_P: StateP | None = None
    loss: float | None = None
    epochs: Losses = ()
    since: Losses = ()
    delivered: dict[int, int] = field(default_factory=dict)
    design: bytes | None = None
    refused: RefusedCalls = NONE_REFUSED
    toolchain: Toolchain = Toolchain.UNRESOLVED


def checkpoint_bytes(schedule: Schedule, trainers: int) -> int:
    """Length of a checkpoint's payload."""
    losses = 8 * (MAX_EPOCHS + rounds_per_epoch(schedule))
    return _HEAD.size + losses + 4 * trainers + DESIGN_BYTES + 8 * schedule.state_class


def encode_progress(progress: JobProgress, schedule: Schedule, trainers: int) -> bytes:
    """The payload."""
    state_P, velocity_P = progress.state_P, progress.velocity_P
    known, loss = state_P is not None, math.nan if progress.loss is None else progress.loss
    head = _HEAD.pack(
        _MAGIC, known, progress.toolchain, progress.tick, progress.rounds_done, loss, progress.refused.number,
        len(progress.epochs), len(progress.since),
    )  # fmt: skip
    delivered = np.array([progress.delivered.get(slot, 0) for slot in range(trainers)], "<u4")
    nothing_P = np.zeros(schedule.state_class, np.float32)
    values = [nothing_P if one is None else one for one in (state_P, velocity_P)]
    return b"".join((
        head, _losses(progress.epochs, MAX_EPOCHS), _losses(progress.since, rounds_per_epoch(schedule)),
        delivered.tobytes(), pad_design(progress.design or b""), *map(encode_state, values),
    ))  # fmt: skip


def decode_progress(payload: bytes, schedule: Schedule, trainers: int) -> JobProgress:
    """What `encode_progress` was given. Raises `FormatError` (format.checkpoint)."""
    if len(payload) != checkpoint_bytes(schedule, trainers):
        raise _malformed(f"{checkpoint_bytes(schedule, trainers)} bytes", len(payload))
    magic, known, toolchain, tick, rounds_done, loss, refused, epochs, since = _HEAD.unpack_from(payload)
    if (
        magic != _MAGIC
        or known > 1
        or toolchain not in tuple(Toolchain)
        or epochs > MAX_EPOCHS
        or since > rounds_per_epoch(schedule)
    ):
        raise _malformed("a checkpoint of version 1", "another")
    at = _HEAD.size
    epoch_losses, at = _read_losses(payload, at, epochs), at + 8 * MAX_EPOCHS
    since_losses, at = _read_losses(payload, at, since), at + 8 * rounds_per_epoch(schedule)
    delivered, at = np.frombuffer(payload, "<u4", trainers, at), at + 4 * trainers
    design, at = unpad_design(payload[at : at + DESIGN_BYTES]), at + DESIGN_BYTES
    state_P = np.frombuffer(payload, "<f4", schedule.state_class, at)
    velocity_P = np.frombuffer(payload, "<f4", schedule.state_class, at + 4 * schedule.state_class)
    return JobProgress(
        tick=tick,
        rounds_done=rounds_done,
        state_P=state_P if known else None,
        velocity_P=velocity_P if known else None,
        loss=_told(loss),
        epochs=epoch_losses,
        since=since_losses,
        delivered={slot: int(rounds) for slot, rounds in enumerate(delivered) if rounds},
        design=design or None,
        refused=RefusedCalls.of_number(refused),
        toolchain=Toolchain(toolchain),
    )


def _losses(losses: Sequence[float | None], room: int) -> bytes:
    values = np.zeros(room, "<f8")
    values[: len(losses)] = [math.nan if loss is None else loss for loss in losses]
    return values.tobytes()


def _read_losses(payload: bytes, at: int, count: int) -> Losses:
    return tuple(_told(loss) for loss in np.frombuffer(payload, "<f8", count, at).tolist())


def _told(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


def _malformed(expected: str, seen: object) -> FormatError:
    return FormatError("format.checkpoint", expected=expected, seen=seen)
