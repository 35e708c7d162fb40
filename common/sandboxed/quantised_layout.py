"""What a sandbox says of its model in int8: ranges and figures (sides: sandbox, library).

    finding u32 | rows that it was judged on u32 | top-1 of float32, of int8 (percent) 2 x f32 | ranges u32
    ranges, each lowest and highest value f32: the input's, then those of the graph's values in their order
    zeros to `FINDINGS_BYTES`

Little-endian. One size for all graphs and findings, so that nothing of either shows in a frame or a sealed model.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

MOST_RANGES: Final = 4096
"""As many nodes as a graph may have. A document that fits a job has fewer."""

_HEAD: Final = struct.Struct("<IIffI")
FINDINGS_BYTES: Final = _HEAD.size + 8 * MOST_RANGES


class Finding(IntEnum):
    """What came of judging int8; all but `JUDGED` say why nothing did."""

    NOTHING = 0
    JUDGED = 1
    NO_GRAPH = 2
    """Code that does not export: there is nothing that could be computed in int8."""
    NO_CLASSES = 3
    """Labels that are no class numbers, or answers that are no scores of classes: there is no accuracy."""
    FEW_ROWS = 4
    ABSENT = 5
    """No OpenVINO here, or no units for int8."""
    UNSUPPORTED = 6
    MIXES = 7
    LATE = 8
    FAILED = 9
    DISAGREES = 10
    """On random rows, by more than where it is served it may (engine_choice.py)."""


@dataclass(frozen=True)
class Findings:
    """Accuracies in percent of top-1 on `rows` rows that nothing was trained on; they say nothing unless `JUDGED`.

    `ranges_V2`: for each of the V values that int8 needs a range of, its lowest and its highest.
    """

    finding: Finding
    rows: int = 0
    float32_percent: float = 0.0
    int8_percent: float = 0.0
    ranges_V2: NDArray[np.float32] | None = None

    def encode(self) -> bytes:
        """`FINDINGS_BYTES` bytes. Raises `ValueError` for more ranges than fit."""
        ranges = np.zeros((0, 2), np.float32) if self.ranges_V2 is None else self.ranges_V2
        if len(ranges) > MOST_RANGES:
            raise ValueError(f"at most {MOST_RANGES} ranges")
        head = _HEAD.pack(self.finding, self.rows, self.float32_percent, self.int8_percent, len(ranges))
        return (head + ranges.astype("<f4").tobytes()).ljust(FINDINGS_BYTES, b"\0")

    @classmethod
    def parse(cls, raw: bytes | bytearray | memoryview) -> Self:
        """Raises `ValueError` for anything that `encode` does not make, and for ranges that are none."""
        if len(raw) != FINDINGS_BYTES:
            raise ValueError(f"findings of {FINDINGS_BYTES} bytes")
        finding, rows, reference, int8, count = _HEAD.unpack_from(raw)
        if count > MOST_RANGES or bytes(memoryview(raw)[_HEAD.size + 8 * count :]).strip(b"\0"):
            raise ValueError("zeros behind the last range")
        if not all(0.0 <= one <= 100.0 for one in (reference, int8)):
            raise ValueError("accuracies in percent")
        ranges_V2 = np.frombuffer(raw, "<f4", 2 * count, _HEAD.size).reshape(-1, 2).copy()
        if not (np.isfinite(ranges_V2).all() and (ranges_V2[:, 0] <= 0).all() and (ranges_V2[:, 1] > 0).all()):
            raise ValueError("ranges around zero")
        return cls(Finding(finding), rows, reference, int8, ranges_V2)
