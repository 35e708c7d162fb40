"""What design code may use up (side: enclave).

Fuel is wasmtime's count of executed operations: the same code on the same input uses the same fuel on any machine, so
that a code which is too slow fails alike everywhere, long before the deadline does (about 10^9 a second).
"""

from dataclasses import dataclass, replace
from typing import Self

from common.messages.sandbox_bounds import SandboxBounds


@dataclass(frozen=True)
class WasmLimits:
    """Bounds of one instance, from its start to the job's end."""

    memory_bytes: int = 128 << 20
    """Linear memory; a component has one. What it returns is copied twice at most."""
    table_elements: int = 1 << 16
    """Of each table."""
    tables: int = 16
    core_instances: int = 64
    """componentize-py makes 40 (its stubs of WASI, Python, libc); a component of one module has one."""
    start_fuel: int = 1_000_000_000
    design_fuel: int = 5_000_000_000
    epoch_fuel: int = 500_000_000
    design_bytes: int = 1 << 20
    """Of the document (common/model_graph/reading.py, MAX_DOCUMENT_BYTES)."""

    def within(self, bounds: SandboxBounds) -> Self:
        """These, and no more memory than owners allow; their other bounds are about processes and files."""
        if bounds.memory_bytes is None:
            return self
        return replace(self, memory_bytes=min(self.memory_bytes, bounds.memory_bytes))


DEFAULT_LIMITS = WasmLimits()
