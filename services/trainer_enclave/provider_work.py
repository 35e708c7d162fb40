"""Bundle and rows of one launch, for the provider's thread (side: enclave).

Holds: the opened bundle and the opened data sets.  Reads: chunks that were read.  Sends: nothing.
"""

from collections.abc import Callable

from common.bundle import BundleContents
from common.crypto.labels import SEED_INITIAL, SEED_STREAM
from common.dataset_payload import read_columns
from common.errors import FormatError, UnavailableError
from common.key_retrieval import Launch
from common.sandbox.native import DEFAULT_LIMITS, NativeTrainingSandbox
from common.sandbox.protocol import Rows, SandboxLimits, SandboxSeeds, TrainingSandbox
from services.trainer_enclave.dataset import RoundRows, join_columns, restrict_columns
from services.trainer_enclave.reading import ChunkReads

SandboxStart = Callable[[BundleContents, int, SandboxSeeds, SandboxLimits], TrainingSandbox]
"""Starts provider code confined: contents, rows per round, seeds, limits. Raises `ConfinementError`."""


def start_native(
    contents: BundleContents, rows_per_round: int, seeds: SandboxSeeds, limits: SandboxLimits
) -> TrainingSandbox:
    """The `native` sandbox."""
    return NativeTrainingSandbox.start(contents, rows_per_round=rows_per_round, seeds=seeds, limits=limits)


class ProviderWork:
    """Opens bundle and rows when the provider's thread first needs them.

    What is wrong with either is raised there, so that it becomes a note and not an early end.
    """

    def __init__(self, launch: Launch, bundle: bytes, reads: ChunkReads, start: SandboxStart) -> None:
        self._launch, self._bundle, self._reads, self._start = launch, bundle, reads, start
        self._contents: BundleContents | None = None
        self._rows: RoundRows | None = None

    @property
    def _rows_per_round(self) -> int:
        return self._launch.order.schedule.steps_per_round * self._launch.order.schedule.batch_rows

    def start_sandbox(self) -> TrainingSandbox:
        """Parse the bundle and start its sandbox. Raises `FormatError` or `ConfinementError`."""
        try:
            self._contents = BundleContents.parse(self._bundle)
        except FormatError as cause:
            raise FormatError("format.bundle") from cause
        limits = DEFAULT_LIMITS.within(self._launch.terms.sandbox_bounds)
        try:
            return self._start(self._contents, self._rows_per_round, seeds_of(self._launch), limits)
        except FormatError as cause:
            raise FormatError("format.bundle") from cause

    def rows_of_round(self, number: int) -> Rows:
        """The rows of a round, of the columns that the bundle reads and the owners allow. Raises `FormatError`."""
        if self._rows is None:
            self._rows = self._open_rows()
        return self._rows.of_round(number)

    def _open_rows(self) -> RoundRows:
        if self._contents is None:
            raise UnavailableError("unavailable.enclave", expected="an opened bundle")
        allowed = [data.columns for data in self._launch.terms.datasets for _ in data.manifest.parts]
        payloads = self._reads.take_payloads()
        table = join_columns(
            [
                restrict_columns(read_columns(payload), columns)
                for payload, columns in zip(payloads, allowed, strict=True)
            ]
        )
        wanted = {self._contents.manifest.input.column, self._contents.manifest.label.column}
        return RoundRows(
            {name: column for name, column in table.items() if name in wanted},
            self._launch.keys["seed"],
            self._launch.terms.slot,
            self._launch.order.trainers,
            self._rows_per_round,
        )


def seeds_of(launch: Launch) -> SandboxSeeds:
    """The sandbox's seeds: the initial state's is the job's, the stream's is the slot's."""
    seed = launch.keys["seed"]
    return SandboxSeeds(
        seed.derive_number(SEED_INITIAL), seed.derive_number(SEED_STREAM, launch.terms.slot.to_bytes(8, "big"))
    )
