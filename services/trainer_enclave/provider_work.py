"""Bundle, design and rows of one launch, for the provider's thread (side: enclave).

Holds: the opened bundle and the opened data sets.  Reads: chunks that were read.  Sends: nothing.

The sandbox is started with the bundle, or, where that is design code, with the bundle of what it designed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.bundle import DESIGN_FILE, BundleContents, BundleManifest
from common.crypto.keys import SecretKey
from common.crypto.labels import SEED_INITIAL, SEED_STREAM
from common.enclave.gramine import is_gramine
from common.errors import FormatError
from common.exchange.schedule import QUANTISING_SLOT
from common.exchange.steering import unpad_design
from common.identifiers import Digest
from common.job_profile import JobRows
from common.key_retrieval import Launch
from common.messages.sandbox_bounds import SandboxBounds
from common.sandbox.enclosed import EnclosedTrainingSandbox
from common.sandbox.exporting import GraphExport
from common.sandbox.gpu import LIMITS as GPU_LIMITS
from common.sandbox.native import DEFAULT_LIMITS, NativeTrainingSandbox
from common.sandbox.protocol import Rows, SandboxLimits, SandboxSeeds, TrainingSandbox
from common.sandbox.quantising import QuantisingSandbox
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.designer import WasmDesigner
from common.sandbox.wasm.limits import DEFAULT_LIMITS as WASM_LIMITS
from common.sandboxed.wire import CUDA
from services.trainer_enclave.dataset import RoundRows, Split
from services.trainer_enclave.designing import Designer, JobDesign
from services.trainer_enclave.exporting import Exporter, JobGraph
from services.trainer_enclave.quantising import JobQuantising, Quantiser, UnreadModel, split_sizes
from services.trainer_enclave.reading import ChunkReads
from services.trainer_enclave.rows_ahead import RowsAhead
from services.trainer_enclave.tables import Tables
from services.trainer_enclave.training import startup_seconds
from services.trainer_enclave.window_rows import WindowRows

SandboxStart = Callable[[BundleContents, int, SandboxSeeds, SandboxLimits, bool], TrainingSandbox]
"""Starts a model's training confined: contents, rows per round, seeds, limits, whether refused calls are counted.

Raises `ConfinementError`.
"""

DesignerStart = Callable[[BundleContents, Digest, SandboxSeeds, SandboxBounds, float], Designer]
"""Starts design code: contents, the sealed bundle's root, seeds, the owners' bounds, seconds. What is wrong with it
becomes its outcomes."""

QuantiserStart = Callable[[BundleManifest, bytes, int, SandboxLimits], Quantiser]
"""Starts what judges int8: manifest, unread document, rows, limits. Raises `ConfinementError`."""

ExportStart = Callable[[BundleContents, SandboxLimits], Exporter]
"""Starts the export of a bundle's code: contents, limits. Raises `ConfinementError`, and `FormatError` without code."""


def start_training(
    contents: BundleContents, rows_per_round: int, seeds: SandboxSeeds, limits: SandboxLimits, counts_refused: bool
) -> TrainingSandbox:
    """The `native` sandbox; under Gramine, where there is none, what trains designs and refuses code."""
    if is_gramine():
        return EnclosedTrainingSandbox.start(contents, rows_per_round=rows_per_round, seeds=seeds, limits=limits)
    return NativeTrainingSandbox.start(
        contents, rows_per_round=rows_per_round, seeds=seeds, limits=limits, counts_refused=counts_refused
    )


def start_gpu_training(
    contents: BundleContents, rows_per_round: int, seeds: SandboxSeeds, limits: SandboxLimits, counts_refused: bool
) -> TrainingSandbox:
    """The `native` sandbox with the machine's GPU in it."""
    return NativeTrainingSandbox.start(
        contents, rows_per_round=rows_per_round, seeds=seeds, limits=limits, counts_refused=counts_refused, device=CUDA
    )


def start_wasm(
    contents: BundleContents,
    bundle: Digest,
    seeds: SandboxSeeds,
    bounds: SandboxBounds,
    seconds: float,
    compiled: Callable[[Digest], CompiledDesign] | None = None,
) -> Designer:
    """The `wasm` sandbox; `compiled` finds what earlier launches left of a bundle."""
    limits, left = WASM_LIMITS.within(bounds), None if compiled is None else compiled(bundle)
    return WasmDesigner.start(contents, seeds, limits, compiled=left, deadline_seconds=seconds)


def start_export(contents: BundleContents, limits: SandboxLimits) -> Exporter:
    """The export sandbox."""
    return GraphExport.start(contents, limits)


def start_quantiser(manifest: BundleManifest, document: bytes, rows: int, limits: SandboxLimits) -> Quantiser:
    """The sandbox in which int8 is judged."""
    return QuantisingSandbox.start(manifest, document, rows, limits)


@dataclass(frozen=True)
class Starts:
    """How the sandboxes are started."""

    sandbox: SandboxStart = start_training
    gpu_sandbox: SandboxStart = start_gpu_training
    designer: DesignerStart = start_wasm
    export: ExportStart = start_export
    quantiser: QuantiserStart = start_quantiser


class ProviderWork:
    """Opens bundle and rows when the provider's thread first needs them. `design` is None for a `native` order, `graph`
    for all others.

    What is wrong with any of them is raised there, so that it becomes a note and not an early end.
    """

    def __init__(self, launch: Launch, bundle: bytes, reads: ChunkReads, starts: Starts) -> None:
        self._launch, self._bundle, self._reads, self._starts = launch, bundle, reads, starts
        self._contents: BundleContents | None = None
        self._designed: BundleContents | None = None
        self._rows: RoundRows | None = None
        self._windows: WindowRows | None = None
        self._ahead: RowsAhead | None = None
        designs = launch.order.sandbox == "wasm"
        self.design = JobDesign(launch.order, self._start_designer) if designs else None
        seconds = startup_seconds(launch.order.schedule)
        self.graph = None if designs else JobGraph(self._start_export, seconds)

    @property
    def _rows_per_round(self) -> int:
        return self._launch.order.schedule.steps_per_round * self._launch.order.schedule.batch_rows

    def start_sandbox(self) -> TrainingSandbox:
        """Start a sandbox of the bundle, or of what it designs, which it is asked for once. Raises a `Refusal`."""
        contents = self._open_contents() if self.design is None else self._design_contents(self.design)
        counts = self._launch.terms.refusal_report == "classes" and not contents.has_design
        start, limits = self._starts.sandbox, self._limits()
        if self._on_gpu:
            start, limits = self._starts.gpu_sandbox, self._limits(GPU_LIMITS)
        try:
            return start(contents, self._rows_per_round, seeds_of(self._launch), limits, counts)
        except FormatError as cause:
            raise FormatError("format.bundle") from cause

    def _design_contents(self, design: JobDesign) -> BundleContents:
        if self._designed is None:
            seconds = startup_seconds(self._launch.order.schedule)
            self._designed = design.make(self._profiled(), self._open_contents().manifest, seconds)
        return self._designed

    def rows_of_round(self, number: int) -> Rows:
        """The rows of a round, of the columns that the bundle reads and the owners allow. Raises `FormatError`.

        For a GPU those of the next round are gathered meanwhile.
        """
        rows = self._open_rows()
        if not self._on_gpu or not isinstance(rows, RoundRows):
            return rows.of_round(number)
        if self._ahead is None:
            self._ahead = RowsAhead(rows.of_round)
        return self._ahead.of_round(number)

    def close(self) -> None:
        """No more rows are asked for."""
        if self._ahead is not None:
            self._ahead.close()

    def weight(self) -> int:
        """How many rows this slot has: what its deltas count beside those of others. Raises as `rows_of_round`."""
        return self._open_rows().weight

    def _start_export(self) -> Exporter:
        return self._starts.export(self._open_contents(), self._limits())

    def _limits(self, usual: SandboxLimits = DEFAULT_LIMITS) -> SandboxLimits:
        return usual.within(self._launch.terms.sandbox_bounds)

    @property
    def _on_gpu(self) -> bool:
        return self._launch.order.device == CUDA

    def _start_designer(self, seconds: float) -> Designer:
        terms = self._launch.terms
        contents, seeds = self._open_contents(), seeds_of(self._launch)
        return self._starts.designer(contents, terms.bundle.object.root, seeds, terms.sandbox_bounds, seconds)

    def _open_contents(self) -> BundleContents:
        if self._contents is None:
            try:
                contents = BundleContents.parse(self._bundle)
            except FormatError as cause:
                raise FormatError("format.bundle") from cause
            if contents.manifest.kind != self._launch.order.sandbox:
                raise FormatError("format.bundle", expected=self._launch.order.sandbox, seen=contents.manifest.kind)
            self._contents = contents
        return self._contents

    def _profiled(self) -> JobRows:
        """What design code is told of: all rows where they are whole here, else the sample that every trainer read."""
        if self._reads.share.whole:
            rows = self._rows = self._rows or self._kept_rows()
            return JobRows(rows.tables, rows.count)
        tables, units = self._tables(), self._reads.sample
        self._reads.sample = []
        return JobRows(tables.of_each(units), tables.rows)

    def _open_rows(self) -> RoundRows | WindowRows:
        if self._reads.kept is not None:
            self._rows = self._rows or self._kept_rows()
            return self._rows
        if self._windows is None:
            tables, held = self._tables(), self._held_out_percent
            self._windows = WindowRows(self._reads, tables, *self._place, self._rows_per_round, held)
        return self._windows

    def _kept_rows(self) -> RoundRows:
        tables, share = self._tables(), self._reads.share
        units = self._reads.take_kept()
        opened = tables.of_all(units) if share.whole else tables.of_each(units)
        return RoundRows(opened, *self._place, share.step, self._rows_per_round, self._held_out_percent)

    @property
    def quantising(self) -> JobQuantising | None:
        """What the slot needs that judges int8; None for all others."""
        terms = self._launch.terms
        if self._launch.order.answers.lowest != "int8" or terms.slot != QUANTISING_SLOT:
            return None
        return JobQuantising(self._start_quantiser, self._unread_model, self._split)

    def _start_quantiser(self, manifest: BundleManifest, document: bytes, rows: int) -> Quantiser:
        return self._starts.quantiser(manifest, document, rows, self._limits())

    def _unread_model(self) -> UnreadModel | None:
        contents = self._open_contents()
        if contents.has_design:
            return UnreadModel(contents.manifest, contents.files[DESIGN_FILE], b"")
        payload, manifest = None if self.graph is None else self.graph.payload, contents.manifest
        if self.design is not None and self._designed is not None:
            payload, manifest = self.design.payload(), self._designed.manifest
        if payload is None:
            return None
        document = unpad_design(payload)
        return UnreadModel(manifest, document, document)

    def _split(self) -> Split:
        manifest = self._open_contents().manifest
        return self._open_rows().split(split_sizes(manifest.input.row_bytes + manifest.label.row_bytes))

    @property
    def _held_out_percent(self) -> int:
        """Of units that are dealt, those of the slot that judges are enough."""
        share, answers = self._reads.share, self._launch.order.answers
        return answers.held_out_percent if share.step > 1 or self._launch.terms.slot == QUANTISING_SLOT else 0

    @property
    def _place(self) -> tuple[SecretKey, int]:
        return self._launch.keys["seed"], self._launch.order.place(self._launch.terms.slot)[0]

    def _tables(self) -> Tables:
        manifest = self._open_contents().manifest
        allowed = [data.columns for data in self._launch.terms.datasets for _ in data.manifest.parts]
        return Tables(self._reads.parts, allowed, {manifest.input.column, manifest.label.column})


def seeds_of(launch: Launch) -> SandboxSeeds:
    """The sandbox's seeds: the initial state's is the job's, the stream's is the slot's."""
    seed = launch.keys["seed"]
    return SandboxSeeds(
        seed.derive_number(SEED_INITIAL), seed.derive_number(SEED_STREAM, launch.terms.slot.to_bytes(8, "big"))
    )
