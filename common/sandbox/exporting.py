"""The sandbox in which native code is exported to a graph (side: enclave).

The child gets the bundle and nothing else: its rows, state and seeds are zeros. What comes back is a copy of one output
buffer, unverified: common/exported_graph.py judges it.
"""

import threading
from typing import Final, Self

from common.bundle import BundleContents, BundleManifest
from common.errors import FormatError
from common.sandbox.child import Arrival
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import STARTUP_SECONDS, SandboxLimits, SandboxSeeds
from common.sandbox.seccomp import FilterKind
from common.sandbox.workplace import Work, Workplace
from common.sandboxed.wire import DOCUMENT_BYTES, Operation, Status

NICENESS: Final = 5
"""An export takes 3 s of a core, beside the first rounds, which must not wait for it."""

DEFAULT_LIMITS: Final = SandboxLimits()


NO_SEEDS: Final = SandboxSeeds(0, 0)


def export_work(manifest: BundleManifest) -> Work:
    """One export; what comes back is a document."""
    columns = (manifest.input,)
    return Work("export_process", FilterKind.TRAINING, columns, manifest.query_rows, DOCUMENT_BYTES, NICENESS)


class GraphExport:
    """One child, which is asked once. `stop` may be called from any thread."""

    def __init__(self, place: Workplace) -> None:
        self._place, self._stopped = place, threading.Event()

    @classmethod
    def start(cls, contents: BundleContents, limits: SandboxLimits = DEFAULT_LIMITS) -> Self:
        """Start a child; it is not awaited. Raises `ConfinementError`, and `FormatError` for a bundle without code."""
        if contents.manifest.designs or contents.has_design or contents.has_graph:
            raise FormatError("format.bundle", expected="a bundle of native code")
        require_confinement()
        return cls(Workplace(contents, export_work(contents.manifest), NO_SEEDS, limits))

    def run(self, deadline_seconds: float) -> bytes | None:
        """What the child wrote, `DOCUMENT_BYTES` of it, or None; the child is dead afterwards.

        Raises `ConfinementError` when it does not die.
        """
        try:
            if self._place.await_ready(STARTUP_SECONDS, self._stopped.is_set) is not Arrival.BYTE:
                return None
            result = self._place.run(
                Operation.GRAPH, 0, 0, deadline_seconds, deadline_seconds, given_up=self._stopped.is_set
            )
            return bytes(result.unverified_body) if result.status is Status.DONE else None
        finally:
            self._place.close()

    def stop(self) -> None:
        """`run` ends soon, whatever the child does."""
        self._stopped.set()
