"""wasmtime's configuration, and compiling within a deadline (side: enclave).

On: fuel, epochs, one canonical NaN, the component model. Off: threads, SIMD and relaxed SIMD, garbage collection,
exceptions, function references, tail calls, several memories, 64-bit memories, stack switching: what design code does
not need, and where engines have had their faults. Memory is reserved with guard pages and loads copy-on-write, so a
trap is a signal (SIGSEGV, SIGILL) that wasmtime handles.

Inside an SGX enclave addresses are few and signals come from the host: there, every access is checked in code instead
(`CHECKED`). Design code computes the same, and uses the same fuel; it takes longer.

Compiling uses all cores and can't be interrupted: outline.py bounds what it may be given, and `compile_within` stops
waiting at the deadline. What a compiler bug could do, it does before design code has seen anything.
"""

import json
import platform
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final

import wasmtime
from wasmtime import _ffi
from wasmtime.component import Component

from common.enclave.gramine import is_gramine
from common.sandbox.wasm.failure import DesignFailure
from common.sandbox.wasm.outline import OutlineError, read_outline

MAX_STACK_BYTES: Final = 1 << 20
"""Of one call; Python threads have 8 MiB, which must hold it."""

SETTINGS: Final[dict[str, bool | int | str]] = {
    "consume_fuel": True,
    "epoch_interruption": True,
    "cranelift_nan_canonicalization": True,
    "cranelift_opt_level": "speed",
    "max_wasm_stack": MAX_STACK_BYTES,
    "memory_init_cow": True,
    "wasm_component_model": True,
    "wasm_threads": False,
    "shared_memory": False,
    "wasm_simd": False,
    "wasm_relaxed_simd": False,
    "wasm_tail_call": False,
    "wasm_multi_memory": False,
    "wasm_memory64": False,
    "wasm_exceptions": False,
    "wasm_function_references": False,
    "wasm_gc": False,
    "gc_support": False,
    "wasm_stack_switching": False,
    "wasm_custom_page_sizes": False,
    "wasm_wide_arithmetic": False,
    "wasm_component_model_map": False,
    "wasm_component_model_implements": False,
}
"""Attributes of `wasmtime.Config`."""

CHECKED: Final[dict[str, bool | int | str]] = {
    "signals_based_traps": False,
    "memory_reservation": 0,
    "memory_guard_size": 0,
    "memory_reservation_for_growth": 0,
    "memory_init_cow": False,
}
"""In place of what `SETTINGS` and wasmtime's defaults say, under Gramine."""

UNNAMED_SETTINGS: Final[dict[str, bool]] = {
    "wasm_component_model_async": False,
    "wasm_component_model_more_async_builtins": False,
    "wasm_component_model_async_stackful": False,
    "wasm_component_model_canonical_names": False,
    "wasm_component_model_accessors": False,
    "wasm_branch_hinting": False,
    "wasm_compact_imports": False,
    "concurrency_support": False,
}
"""Settings of wasmtime's C interface (wasmtime_config_…_set) that `Config` has no attribute for. The first one is on by
default, and with it tasks, streams and waiting."""


def settings_here() -> dict[str, bool | int | str]:
    """The settings on this platform."""
    return SETTINGS | CHECKED if is_gramine() else SETTINGS


def fingerprint() -> bytes:
    """What a compiled component depends on beside its own bytes; wasmtime itself checks the processor's features."""
    facts = {
        "wasmtime": version("wasmtime"),
        "machine": platform.machine(),
        "settings": settings_here() | UNNAMED_SETTINGS,
    }
    return json.dumps(facts, separators=(",", ":"), sort_keys=True).encode()


def make_engine(settings: Mapping[str, bool | int | str] | None = None) -> wasmtime.Engine:
    """An engine of its own for each instance, so that its epoch is nobody else's. `settings`: not those of here."""
    config = wasmtime.Config()
    for name, value in (settings_here() if settings is None else settings).items():
        setattr(config, name, value)
    for name, value in UNNAMED_SETTINGS.items():
        getattr(_ffi, f"wasmtime_config_{name}_set")(config.ptr(), value)
    return wasmtime.Engine(config)


def compile_within(
    engine: wasmtime.Engine,
    component: bytes,
    seconds: float,
    when_made: Callable[[Component], None] = lambda _made: None,
) -> Component:
    """The compiled component, if its outline is within bounds. Raises `DesignFailure` (provider.import, .timeout).

    `when_made` gets it on a thread of its own, also when it comes too late for this call.
    """
    try:
        read_outline(component)
    except OutlineError:
        raise DesignFailure("provider.import") from None
    made: list[Component] = []

    def work() -> None:
        try:
            made.append(Component(engine, component))
        except (wasmtime.WasmtimeError, TypeError, ValueError):
            return
        when_made(made[0])

    thread = threading.Thread(target=work, name="design-compiler", daemon=True)
    thread.start()
    thread.join(max(0.0, seconds))
    if made:
        return made[0]
    raise DesignFailure("provider.timeout" if thread.is_alive() else "provider.import")
