"""The final state in int8, at slot 0 of an order that asks for it: calibrated and judged once (side: enclave).

Holds: nothing between two runs.  Reads: document, final state, rows.  Sends: nothing; it returns a QUANTISED payload.

It begins in the quantising ticks of the schedule, when the final state has come, on the provider's thread, which has
nothing more to learn by then. Frames and reads go on as in all ticks. Whatever goes wrong is a finding: an early end
would tell the host something. The document is not read here (services/trainer_enclave/exporting.py says why); the
parameter server judges it when its clock is over, and takes no findings of another one.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from common.bundle import BundleManifest
from common.errors import CloisterError
from common.exchange.payloads import StateP, decode_state
from common.exchange.quantised import Quantised
from common.sandbox.protocol import Rows
from common.sandboxed.quantised_layout import Finding, Findings
from services.trainer_enclave.dataset import Split
from services.trainer_enclave.exchange import RoundState

CALIBRATING_ROWS: Final = 512
JUDGED_ROWS: Final = 4096
"""At most; as many of them are judged as the schedule gives time for. Half a point is 20 of them."""

SPLIT_BYTES: Final = 128 << 20
"""Of both: a copy of them is in the sandbox's window."""

CALIBRATING_SHARE: Final = 0.25
"""Of rows that are so large that fewer fit."""


class Quantiser(Protocol):
    """A sandbox of one model (common/sandbox/quantising.py)."""

    def run(self, state_P: StateP, rows: Rows, calibrating: int, seconds: float) -> Findings:
        """What is found with `rows`, of which the first `calibrating` calibrate."""
        ...


QuantiserStart = Callable[[BundleManifest, bytes, int], Quantiser]
"""Starts one, confined: the manifest whose layout the state has, the unread document, rows. Raises
`ConfinementError`."""


@dataclass(frozen=True)
class UnreadModel:
    """What is quantised. `said`: the document as the parameter server knows it, empty where the bundle holds it."""

    manifest: BundleManifest
    document: bytes
    said: bytes


def split_sizes(row_bytes: int) -> tuple[int, int]:
    """How many rows calibrate and how many are judged at most, for rows with labels of this size."""
    most = max(1, SPLIT_BYTES // row_bytes)
    calibrating = min(CALIBRATING_ROWS, max(1, int(CALIBRATING_SHARE * most)))
    return calibrating, min(JUDGED_ROWS, most)


@dataclass(frozen=True)
class JobQuantising:
    """What one launch needs for it; `model` is None where there is no graph. `split` raises a `Refusal`."""

    start: QuantiserStart
    model: Callable[[], UnreadModel | None]
    split: Callable[[], Split]

    def run(self, final: RoundState, state_class: int, seconds: float) -> bytes:
        """The QUANTISED payload for this final state. Use it from the provider's thread."""
        model, findings, deadline = None, Findings(Finding.FAILED), time.monotonic() + seconds
        try:
            model = self.model()
            findings = self._findings(model, decode_state(final.data, state_class), deadline)
        except (CloisterError, OSError, ValueError, RuntimeError, MemoryError):
            pass  # said as a failure
        return Quantised.of(b"" if model is None else model.said, final.data, findings).encode()

    def _findings(self, model: UnreadModel | None, state_P: StateP, deadline: float) -> Findings:
        if model is None:
            return Findings(Finding.NO_GRAPH)
        split = self.split()
        count = len(next(iter(split.rows.values()), np.empty(0)))
        sandbox = self.start(model.manifest, model.document, count)
        seconds = max(0.0, deadline - time.monotonic())
        return sandbox.run(state_P[: model.manifest.state_count], split.rows, split.calibrating, seconds)
