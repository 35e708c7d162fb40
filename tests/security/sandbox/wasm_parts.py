"""How tests put hostile design code into the `wasm` sandbox (side: library)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psutil

from common.sandbox.protocol import SandboxSeeds
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.designer import DesignOutcome, WasmDesigner
from common.sandbox.wasm.limits import WasmLimits
from tests.fakes.wasm_components import PROFILE, wasm_bundle

SEEDS = SandboxSeeds(initial=1, stream=2)
LIMITS = WasmLimits(memory_bytes=64 << 20, start_fuel=10_000_000, design_fuel=50_000_000, epoch_fuel=10_000_000)
"""Smaller than usual, so that what uses them up does so in a moment; no attack of this suite fits larger ones."""

SECONDS = 30.0


def start(code: bytes, limits: WasmLimits = LIMITS, compiled: CompiledDesign | None = None) -> WasmDesigner:
    """A designer with this component."""
    return WasmDesigner.start(wasm_bundle(code), SEEDS, limits, compiled=compiled)


def start_code(code: bytes, limits: WasmLimits = LIMITS) -> str | None:
    """With which code a component fails to start."""
    designer = start(code, limits)
    failure = designer.code
    designer.close()
    return failure


def design_of(code: bytes, limits: WasmLimits = LIMITS, *, seconds: float = SECONDS) -> DesignOutcome:
    """What one job's design is; a component that does not start is an error of the test."""
    designer = start(code, limits)
    assert designer.code is None
    outcome = designer.design(PROFILE, seconds)
    designer.close()
    return outcome


@dataclass
class MemoryStore:
    """An `ArtefactStore` whose host can do anything."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    saved: int = 0

    def load(self, name: str) -> bytes | None:
        return self.blobs.get(name)

    def save(self, name: str, blob: bytes) -> None:
        self.blobs[name] = blob
        self.saved += 1


@contextmanager
def bounded(*, seconds: float, megabytes: float) -> Iterator[None]:
    """What runs inside takes no longer, and leaves this process no larger."""
    process, begin = psutil.Process(), time.monotonic()
    before = process.memory_info().rss
    yield
    assert time.monotonic() - begin < seconds
    assert process.memory_info().rss - before < megabytes * 2**20
