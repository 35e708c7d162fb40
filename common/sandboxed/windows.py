"""The windows of a sandbox as its child sees them (side: sandbox).

N rows of a unit of work, P parameters of the state.
"""

import mmap
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.sandboxed.wire import CONTROL, HEADER, READY, VERDICT, Configuration, Record, Status


class Windows:
    """Input and state window (read-only, so writing to them is a fault), output buffer, and the two pipes."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.state_P: NDArray[np.float32] = np.frombuffer(_map(configuration.state_fd, mmap.PROT_READ), np.float32)[
            : sum(_count(shape) for _, shape in configuration.layout)
        ]
        self._input = _map(configuration.input_fd, mmap.PROT_READ)
        self._output = _map(configuration.output_fd, mmap.PROT_READ | mmap.PROT_WRITE)

    def rows(self, count: int) -> dict[str, NDArray[Any]]:
        """The first `count` rows of every column, read-only."""
        return {
            column.name: np.frombuffer(
                self._input, np.dtype(column.dtype), count * _count(column.shape), column.offset
            ).reshape(count, *column.shape)
            for column in self.configuration.columns
        }

    def write_header(self, sequence: int, status: Status, steps: int = 0, mean: float = 0.0, last: float = 0.0) -> None:
        """Say how a unit of work ended."""
        VERDICT.pack_into(self._output, 0, sequence, status, steps, mean, last)

    def count_refused(self, number: int) -> None:
        """Count a refused call in its class."""
        classes = self.configuration.call_classes
        kind = next((kind for kind, calls in enumerate(classes) if number in calls), len(classes) - 1)
        at = VERDICT.size + kind
        self._output[at] = min(self._output[at] + 1, 255)

    def write_body(self, values: NDArray[Any]) -> None:
        """Put the numbers of a unit of work behind the header."""
        self._output[HEADER.size : HEADER.size + values.nbytes] = values.tobytes()

    def next_record(self) -> Record | None:
        """Wait for a control record. None when the enclave is gone."""
        raw = b""
        while len(raw) < CONTROL.size:
            part = os.read(self.configuration.control_fd, CONTROL.size - len(raw))
            if not part:
                return None
            raw += part
        return Record.decode(raw)

    def signal(self) -> None:
        """One byte: at start, and after each unit of work."""
        os.write(self.configuration.completion_fd, READY)


def _count(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _map(fd: int, protection: int) -> mmap.mmap:
    return mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED, protection)
