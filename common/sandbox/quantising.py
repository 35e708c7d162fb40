"""The sandbox in which a model is calibrated and judged in int8 (side: enclave).

The child gets a document that nobody has checked yet, the final state, and an owner's rows; trusted code reads them,
within the walls that provider code has. What comes back is a copy of one output buffer, parsed strictly; whoever seals
the model checks its document before anything of it counts.
"""

from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from common.bundle import GRAPH_FILE, BundleContents, BundleManifest
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import Rows, SandboxLimits, SandboxSeeds
from common.sandbox.seccomp import FilterKind
from common.sandbox.workplace import Work, Workplace
from common.sandboxed.quantised_layout import FINDINGS_BYTES, Finding, Findings
from common.sandboxed.wire import Operation, Status

NO_SEEDS: Final = SandboxSeeds(0, 0)
DEFAULT_LIMITS: Final = SandboxLimits()


def quantising_work(manifest: BundleManifest, rows: int) -> Work:
    """One unit of so many rows with their labels; what comes back are findings."""
    columns = (manifest.input, manifest.label)
    return Work("quantising_process", FilterKind.GRAPH, columns, rows, FINDINGS_BYTES)


class _UnreadPlace(Workplace):
    """A workplace whose document is not looked at here: to check one takes Python that keeps a clock's thread waiting.

    Its state is the bundle's.
    """

    def __init__(self, manifest: BundleManifest, document: bytes, work: Work, limits: SandboxLimits) -> None:
        contents = BundleContents.model_construct(manifest=manifest, files={GRAPH_FILE: document})
        super().__init__(contents, work, NO_SEEDS, limits)

    def _require_document(self, contents: BundleContents) -> None:
        """Nothing."""

    def _document(self) -> str:
        return GRAPH_FILE


class QuantisingSandbox:
    """One child, which is asked once."""

    def __init__(self, place: Workplace) -> None:
        self._place = place

    @classmethod
    def start(
        cls, manifest: BundleManifest, document: bytes, rows: int, limits: SandboxLimits = DEFAULT_LIMITS
    ) -> Self:
        """Start a child for `rows` rows. Raises `ConfinementError`."""
        require_confinement()
        place = _UnreadPlace(manifest, document, quantising_work(manifest, rows), limits)
        place.require_ready()
        return cls(place)

    def run(self, state_P: NDArray[np.float32], rows: Rows, calibrating: int, seconds: float) -> Findings:
        """What is found with `rows`, of which the first `calibrating` calibrate. The child is dead afterwards.

        Raises `ValueError` only for the enclave's own mistake: a state that is not float32[P].
        """
        try:
            self._place.load_state(state_P)
            count = len(next(iter(rows.values()), ()))
            if not self._place.load_rows(rows, count):
                return Findings(Finding.FAILED)
            result = self._place.run(Operation.QUANTISE, calibrating, count, seconds, seconds)
        finally:
            self._place.close()
        if result.status is not Status.DONE:
            return Findings(Finding.LATE if result.status is Status.TIMEOUT else Finding.FAILED)
        try:
            return Findings.parse(result.unverified_body[:FINDINGS_BYTES])
        except ValueError:
            return Findings(Finding.FAILED)
