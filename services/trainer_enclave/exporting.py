"""The graph of a native bundle at one trainer: exported beside the first rounds (side: enclave).

Holds: the opened bundle, in an export sandbox.  Reads: nothing of the job.  Sends: nothing; `payload` is taken from it.

It begins when the initial state is made, at low priority and in a sandbox of its own that sees no row and no state: no
round waits for it, and nothing of the data is in it. Whatever comes of it, schedule and frames stay what they were;
without a graph the model is served by the provider's code.
"""

import threading
from collections.abc import Callable
from typing import Protocol

from common.bundle import BundleManifest
from common.errors import CloisterError, FormatError
from common.exchange.steering import pad_design, unpad_design
from common.exported_graph import open_exported


class Exporter(Protocol):
    """An export sandbox (common/sandbox/exporting.py)."""

    def run(self, deadline_seconds: float) -> bytes | None:
        """What its child wrote, unverified, or None."""
        ...

    def stop(self) -> None:
        """End it soon."""
        ...


class JobGraph:
    """`start` starts the export of the bundle and gives its manifest. Any thread may read `payload`."""

    def __init__(self, start: Callable[[], tuple[Exporter, BundleManifest]], deadline_seconds: float) -> None:
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
            self._exporter, bundle = self._start()
            if self._stopped.is_set():
                self._exporter.stop()
            self.payload = checked_payload(self._exporter.run(self._deadline), bundle)
        except (CloisterError, OSError, ValueError, RuntimeError, MemoryError):
            return  # no graph: nobody is told


def checked_payload(unverified: bytes | None, bundle: BundleManifest) -> bytes | None:
    """The GRAPH payload of what an export sandbox wrote, or None: it is no valid graph of this bundle."""
    try:
        return None if unverified is None else pad_design(open_exported(unpad_design(unverified), bundle).document)
    except FormatError:
        return None
