"""Start and calls of the `wasm` sandbox with CPython in the component (side: owner).

`measure_wasm()` builds and compiles `examples/providers/auto_cnn` once, seals what was compiled into a file as a host
would keep it, and then times what a launch does with it, once its bundle is open. Times are medians.

    wasm_start_ms           from the start of the sandbox to the first design: load, make an instance, call, check
    wasm_start_cpu_ms       processor time of the same, which others on the machine move less
    wasm_start_load_ms      of it: open the file, decrypt, authenticate, map
    wasm_start_instance_ms  of it: make an instance
    wasm_call_ms            one `after_epoch`
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
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.sandbox.protocol import SandboxSeeds
from common.sandbox.wasm.compiled import CompiledDesign
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
    """The figures by name. Raises `RuntimeError` with the code of what went wrong in the sandbox."""
    description, files = read_bundle_directory(EXAMPLE)
    begin = time.perf_counter()
    contents = component_bundle(EXAMPLE, description, files["provider.toml"])
    figures = {"wasm_build_s": time.perf_counter() - begin}
    with tempfile.TemporaryDirectory() as directory:
        left = CompiledDesign(SecretKey.generate(), FileStore(Path(directory)), sha256(contents.encode()))
        begin = time.perf_counter()
        _started(contents, left).close()
        figures["wasm_compile_s"] = time.perf_counter() - begin
        figures["wasm_artefact_mb"] = sum(path.stat().st_size for path in Path(directory).iterdir()) / 1e6
        figures |= _parts(contents, left, starts)
        took = [_start(contents, left) for _ in range(starts)]
        figures["wasm_start_ms"] = statistics.median(wall for wall, _ in took)
        figures["wasm_start_cpu_ms"] = statistics.median(cpu for _, cpu in took)
        figures["wasm_call_ms"] = _call_ms(contents, left, calls)
    return figures


def _started(contents: BundleContents, left: CompiledDesign) -> WasmDesigner:
    designer = WasmDesigner.start(contents, SEEDS, compiled=left, deadline_seconds=_SECONDS)
    if designer.code is not None:
        raise RuntimeError(designer.code)
    return designer


def _start(contents: BundleContents, left: CompiledDesign) -> tuple[float, float]:
    """Milliseconds that passed, and that processors spent."""
    begin, spent = time.perf_counter(), time.process_time()
    designer = _started(contents, left)
    outcome = designer.design(PROFILE, _SECONDS)
    taken = 1000 * (time.perf_counter() - begin), 1000 * (time.process_time() - spent)
    designer.close()
    if outcome.design is None:
        raise RuntimeError(outcome.code)
    return taken


def _call_ms(contents: BundleContents, left: CompiledDesign, calls: int) -> float:
    designer = _started(contents, left)
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


def _parts(contents: BundleContents, left: CompiledDesign, times: int) -> dict[str, float]:
    """Medians of a start's parts."""
    component = contents.files["design.wasm"]
    found: dict[str, list[float]] = {"load": [], "instance": []}
    for _ in range(times):
        engine = make_engine()
        load, loaded = _timed(lambda engine=engine: left.component(engine, component, _SECONDS))  # type: ignore[misc]
        made, instance = _timed(
            lambda engine=engine, loaded=loaded: Instance.start(engine, loaded, DEFAULT_LIMITS, _SECONDS)  # type: ignore[misc]
        )
        instance.close()
        found["load"].append(load)
        found["instance"].append(made)
    return {f"wasm_start_{name}_ms": statistics.median(taken) for name, taken in found.items()}


def _timed(work: Callable[[], _T]) -> tuple[float, _T]:
    """Milliseconds, and what it returned."""
    begin = time.perf_counter()
    result = work()
    return 1000 * (time.perf_counter() - begin), result
