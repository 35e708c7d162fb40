"""What a leak meter recorded, in a file: figures can be had from it again without a job being played (side: owner).

A zip file of NumPy arrays (`numpy.savez_compressed`; nothing in it is pickled): of job number n `n NAME` is a series,
`n sandbox_cpu` that; `jobs` is UTF-8 JSON, with the schedule and all else.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.leak_record import SERIES, JobRecord
from common.messages.order import Schedule

_PLAIN: Final = ("pair", "secret", "tick_ms", "shape", "durations", "usage")


def keep(file: Path, records: Sequence[JobRecord], schedule: Schedule) -> None:
    """Write them there. Raises `OSError`."""
    told = {
        "schedule": schedule.model_dump(), "jobs": [{name: getattr(one, name) for name in _PLAIN} for one in records]
    }  # fmt: skip
    arrays: dict[str, NDArray[Any]] = {"jobs": np.frombuffer(json.dumps(told).encode(), np.uint8)}
    for number, one in enumerate(records):
        arrays |= {f"{number} {name}": one.series[name] for name in SERIES}
        arrays[f"{number} sandbox_cpu"] = one.sandbox_cpu
    with file.open("wb") as written:
        np.savez_compressed(written, **arrays)  # type: ignore[arg-type]  # its stub takes the last option for an array


def recall(file: Path) -> tuple[list[JobRecord], Schedule]:
    """Read them again. Raises `OSError`, and `ValueError` or `KeyError` for another file."""
    with np.load(file) as arrays:
        told = json.loads(arrays["jobs"].tobytes())
        records = [
            JobRecord(
                **one,
                series={name: arrays[f"{number} {name}"] for name in SERIES},
                sandbox_cpu=arrays[f"{number} sandbox_cpu"],
            )
            for number, one in enumerate(told["jobs"])
        ]
    return records, Schedule.model_validate(told["schedule"])
