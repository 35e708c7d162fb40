"""Which engine answers for a graph, and why: what a sandbox says of its choice (side: sandbox; enclaves read it).

It stands in the output's header at sequence 0, before the first query: steps u32 = engine | reason << 8 | apart << 16,
mean f64 and last f64 = rows a second in batches of 1 and of 16. It depends on the graph, on the state and on the
machine, so an enclave tells it to nobody outside (docs/serving.md).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class EngineKind(IntEnum):
    """What computes, in which precision."""

    EAGER = 1
    OPENVINO_FP32 = 2
    OPENVINO_BF16 = 3
    OPENVINO_INT8 = 4


class Precision(IntEnum):
    """The lowest in which a model may be answered."""

    FLOAT32 = 1
    BFLOAT16 = 2
    INT8 = 3
    """With ranges that were judged with the model."""


class Reason(IntEnum):
    """Why it is this one; else why OpenVINO was not compared."""

    MEASURED = 0
    ABSENT = 1
    """OpenVINO does not load here, or the processor has no units for the precision."""
    UNSUPPORTED = 2
    """An operation or type that the conversion does not know."""
    FAILED = 3
    """It did not compile or compute, by its memory limit above all."""
    DISAGREES = 4
    """Its answers differ from eager torch's by more than the tolerance."""
    MIXES = 5
    """An answer depends on its neighbours in the batch."""
    LATE = 6
    """The choice took too long."""


_KIND: Final = 0xFF
_APART: Final = 1 << 16


@dataclass(frozen=True)
class EngineReport:
    """`apart`: this engine computes each row by itself, since even eager torch's answers depended on neighbours."""

    kind: EngineKind
    reason: Reason
    rows_per_second_1: float = 0.0
    rows_per_second_16: float = 0.0
    apart: bool = False

    @property
    def code(self) -> int:
        """The header's `steps`."""
        return self.kind | self.reason << 8 | (_APART if self.apart else 0)


def parse_report(code: int, rows_per_second_1: float, rows_per_second_16: float) -> EngineReport | None:
    """From the header; None where it says nothing, or nothing that is known."""
    try:
        kind, reason = EngineKind(code & _KIND), Reason(code >> 8 & _KIND)
    except ValueError:
        return None
    return EngineReport(kind, reason, rows_per_second_1, rows_per_second_16, bool(code & _APART))
