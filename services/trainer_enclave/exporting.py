"""The graph of a native bundle at one trainer: exported beside the first rounds (side: enclave).

Holds: the opened bundle, in an export sandbox.  Reads: nothing of the job.  Sends: nothing; `payload` is taken from it.

It begins when the initial state is made, at low priority and in a sandbox of its own that sees no row and no state: no
round waits for it, and nothing of the data is in it. Whatever comes of it, schedule and frames stay what they were;
without a graph the model is served by the provider's code.

What the sandbox wrote is said as it is. To read it takes milliseconds with the interpreter held, which this enclave's
ticks would show: the parameter server judges it when its clock is over.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from common.errors import CloisterError


class Exporter(Protocol):
    """An export sandbox (common/sandbox/exporting.py)."""

    def run(self, deadline_seconds: float) -> bytes | None:
        """What its child wrote, unverified, or None."""
        ...

    def stop(self) -> None:
        """End it soon."""
        ...


class JobGraph:
    """`start` starts the export of the bundle. Any thread may read `payload`, the GRAPH payload, unverified."""

    def __init__(self, start: Callable[[], Exporter], deadline_seconds: float) -> None:
        self._start, self._deadline = start, deadline_seconds
        self._exporter: Exporter | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._export, name="export", daemon=True)
        self.payload: bytes | None = None

    def begin(self) -> None:
        """Export on a thread of its own. Once."""
        self._thread.start()

    def stop(self) -> None:
        """The job is over: end the export and wait for its end."""
        self._stopped.set()
        if self._exporter is not None:
            self._exporter.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _export(self) -> None:
        if self._stopped.is_set():
            return
        try:
            self._exporter = self._start()
            if self._stopped.is_set():
                self._exporter.stop()
            self.payload = self._exporter.run(self._deadline)
        except (CloisterError, OSError, ValueError, RuntimeError, MemoryError):
            return  # no graph: nobody is told
