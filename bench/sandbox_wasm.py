"""Start and calls of the `wasm` sandbox with CPython in the component (side: owner).

`measure_wasm()` builds and compiles `examples/providers/auto_cnn` once, seals what was compiled into a file as a host
would keep it, and then times what a launch does with it. Times are medians; `wasm_start_parts_ms` says where a start's
time goes: on a machine that others use, compare parts, not sums.
"""

import mmap
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from common.bundle import BundleContents
from common.bundle_packing import read_bundle_directory
from common.component_packing import component_bundle
from common.crypto.digests import sha256_raw
from common.crypto.keys import SecretKey
from common.sandbox.protocol import SandboxSeeds
from common.sandbox.wasm.compiled import CompiledDesigns
from common.sandbox.wasm.designer import WasmDesigner
from common.sandbox.wasm.engine import make_engine
from common.sandbox.wasm.instance import Instance
from common.sandbox.wasm.interface import Column, Label, Metrics, Profile
from common.sandbox.wasm.limits import DEFAULT_LIMITS

EXAMPLE: Final = Path(__file__).resolve().parent.parent / "examples" / "providers" / "auto_cnn"

PROFILE: Final = Profile(
    rows=1500,
    columns=(Column("image", "uint8", (8, 8), 0.0, 16.0, 4.9, 6.0),),
    label=Label(Column("label", "int64", (), 0.0, 9.0, 4.5, 2.9), counts=(150,) * 10),
    answer=(10,),
    trainers=2,
    rounds=20,
    steps_per_round=20,
    batch_rows=32,
    max_parameters=60_000,
    max_flops_per_row=10_000_000,
)
SEEDS: Final = SandboxSeeds(initial=1, stream=2)
_SECONDS: Final = 600.0
_T = TypeVar("_T")


class FileStore:
    """An `ArtefactStore` in a directory; a blob is mapped, not read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, name: str) -> mmap.mmap | None:
        """The blob, if it is there."""
        with suppress(FileNotFoundError), (self._directory / name).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return None

    def save(self, name: str, blob: bytes) -> None:
        """Keep it."""
        (self._directory / name).write_bytes(blob)


def measure_wasm(starts: int = 20, calls: int = 200) -> dict[str, float]:
    """`wasm_start_ms` (from start to the first design), `wasm_call_ms` (one `after_epoch`), and parts."""
    description, files = read_bundle_directory(EXAMPLE)
    begin = time.perf_counter()
    contents = component_bundle(EXAMPLE, description, files["provider.toml"])
    figures = {"wasm_build_s": time.perf_counter() - begin}
    with tempfile.TemporaryDirectory() as directory:
        designs = CompiledDesigns(SecretKey.generate(), FileStore(Path(directory)))
        begin = time.perf_counter()
        _started(contents, designs).close()
        figures["wasm_compile_s"] = time.perf_counter() - begin
        figures["wasm_artefact_mb"] = sum(path.stat().st_size for path in Path(directory).iterdir()) / 1e6
        figures |= _parts(contents, designs, starts)
        figures["wasm_start_ms"] = statistics.median(_start_ms(contents, designs) for _ in range(starts))
        figures["wasm_call_ms"] = _call_ms(contents, designs, calls)
    return figures


def _started(contents: BundleContents, designs: CompiledDesigns) -> WasmDesigner:
    designer = WasmDesigner.start(contents, SEEDS, compiled=designs, deadline_seconds=_SECONDS)
    if designer.code is not None:
        raise RuntimeError(designer.code)
    return designer


def _start_ms(contents: BundleContents, designs: CompiledDesigns) -> float:
    begin = time.perf_counter()
    designer = _started(contents, designs)
    outcome = designer.design(PROFILE, _SECONDS)
    taken = time.perf_counter() - begin
    designer.close()
    if outcome.design is None:
        raise RuntimeError(outcome.code)
    return 1000 * taken


def _call_ms(contents: BundleContents, designs: CompiledDesigns, calls: int) -> float:
    designer = _started(contents, designs)
    designer.design(PROFILE, _SECONDS)
    times = []
    for number in range(calls):
        metrics = Metrics(number, 20 * number, 1.0 / (number + 1), 1.0 / (number + 1))
        taken, outcome = _timed(lambda metrics=metrics: designer.after_epoch(metrics, _SECONDS))  # type: ignore[misc]
        if outcome.change is None:
            raise RuntimeError(outcome.code)
        times.append(taken)
    designer.close()
    return statistics.median(times)


def _parts(contents: BundleContents, designs: CompiledDesigns, times: int) -> dict[str, float]:
    """Medians of a start's parts: the digest of the component; opening, mapping and checking; making an instance."""
    component = contents.files["design.wasm"]
    found: dict[str, list[float]] = {"digest": [], "load": [], "instance": []}
    for _ in range(times):
        engine = make_engine()
        digest, _name = _timed(lambda: sha256_raw(component))
        load, loaded = _timed(lambda engine=engine: designs.component(engine, component, _SECONDS))  # type: ignore[misc]
        made, instance = _timed(
            lambda engine=engine, loaded=loaded: Instance.start(engine, loaded, DEFAULT_LIMITS, _SECONDS)  # type: ignore[misc]
        )
        instance.close()
        found["digest"].append(digest)
        found["load"].append(load - digest)
        found["instance"].append(made)
    return {f"wasm_start_{name}_ms": statistics.median(taken) for name, taken in found.items()}


def _timed(work: Callable[[], _T]) -> tuple[float, _T]:
    """Milliseconds, and what it returned."""
    begin = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - begin), result
