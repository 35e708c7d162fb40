"""What the rows of `./cloister bench serve` come to: percentiles, medians, ratios, bars (side: owner). Pure rules."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

LEAST: Final = {
    "sealed_vs_plain": 0.90,
    "sealed_vs_plain_150kb": 0.85,
    "vs_litserve": 3.0,
    "vs_bentoml": 3.0,
    "vs_torchserve": 1.5,
    "vs_ray_serve": 10.0,
    "vs_fastapi": 0.9,
    "vs_fastapi_150kb": 0.7,
    "vs_fastapi_null": 0.7,
    "vs_fastapi_null_150kb": 0.5,
    "vs_litserve_eager": 1.0,
    "int8_pipeline_vs_fp32": 2.0,
}
MOST: Final = {
    "p99_over_p50": 3.0,
    "queries_lost": 0,
    "queries_doubled": 0,
    "overload_memory_growth": 1.2,
    "verify_client_ms": 20.0,
}


@dataclass(frozen=True)
class Told:
    """What a load generator saw in `seconds`: `answered` as it should be, `refused` for want of room (429, 503),
    `failed` otherwise. Latencies are those of answers, in milliseconds; 0 without any.
    """

    seconds: float
    answered: int
    refused: int
    failed: int
    p50_ms: float
    p99_ms: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed (nearest rank); 0 of none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(percent / 100 * len(values)) - 1)]


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """To three places. Raises `ValueError` where theirs did nothing: a ratio over nothing is no result."""
    below = statistics.median(theirs)
    if below <= 0:
        raise ValueError("nothing was answered")
    return round(statistics.median(ours) / below, 3)


def missed(figures: Mapping[str, Any]) -> list[str]:
    """Which bars these figures miss; one that was not measured is neither missed nor met."""
    low = [name for name, bar in LEAST.items() if figures.get(name, bar) < bar]
    return low + [name for name, bar in MOST.items() if figures.get(name, bar) > bar]
