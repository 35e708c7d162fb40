"""One instance of a component: fuel, deadline, limits (side: enclave).

A call ends by returning, by a trap, when its fuel is used up, or at its deadline: then a timer moves the engine's epoch
on, and the code traps at its next branch. Of what wasmtime says about a trap nothing is read: its text is made of names
that the provider chose.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import wasmtime
from wasmtime.component import Component, ExportIndex, Func, Linker

from common.sandbox.wasm.failure import DesignFailure
from common.sandbox.wasm.interface import FUNCTIONS, INTERFACE, fits
from common.sandbox.wasm.limits import WasmLimits


class Instance:
    """An instance and its store. Not for two threads at once."""

    def __init__(self, engine: wasmtime.Engine, store: wasmtime.Store, functions: dict[str, Func]) -> None:
        self._engine, self._store, self._functions = engine, store, functions

    @classmethod
    def start(cls, engine: wasmtime.Engine, component: Component, limits: WasmLimits, seconds: float) -> Self:
        """Instantiate with an empty linker. Raises `DesignFailure` (provider.import, provider.timeout)."""
        if component.type.imports(engine):
            raise DesignFailure("provider.import")
        indices = _indices(component)
        store = wasmtime.Store(engine)
        store.set_limits(
            memory_size=limits.memory_bytes,
            table_elements=limits.table_elements,
            instances=limits.core_instances,
            tables=limits.tables,
            memories=1,
        )
        with _metered(engine, store, limits.start_fuel, seconds, otherwise="provider.import"):
            made = Linker(engine).instantiate(store, component)
        functions: dict[str, Func] = {}
        for name, index in indices.items():
            function = made.get_func(store, index)
            if function is None or not fits(function.type(store), FUNCTIONS[name]):
                raise DesignFailure("provider.import")
            functions[name] = function
        return cls(engine, store, functions)

    def call(self, name: str, value: Any, fuel: int, seconds: float) -> Any:
        """What the function returns. Raises `DesignFailure` (provider.raised, provider.timeout)."""
        with _metered(self._engine, self._store, fuel, seconds, otherwise="provider.raised"):
            return self._functions[name](self._store, value)

    def close(self) -> None:
        """Give its memory back. Idempotent; nothing is called afterwards."""
        self._functions = {}
        self._store.close()
        self._engine.close()


def _indices(component: Component) -> dict[str, ExportIndex]:
    """The functions of the interface. Raises `DesignFailure` (provider.import) where one is missing."""
    interface = component.get_export_index(INTERFACE)
    if interface is None:
        raise DesignFailure("provider.import")
    found = {name: component.get_export_index(name, interface) for name in FUNCTIONS}
    indices = {name: index for name, index in found.items() if index is not None}
    if indices.keys() != FUNCTIONS.keys():
        raise DesignFailure("provider.import")
    return indices


@contextmanager
def _metered(
    engine: wasmtime.Engine, store: wasmtime.Store, fuel: int, seconds: float, *, otherwise: str
) -> Iterator[None]:
    """Design code runs inside. Raises `DesignFailure`: provider.timeout without fuel or time, else `otherwise`."""
    late = threading.Event()

    def interrupt() -> None:
        late.set()
        engine.increment_epoch()

    store.set_fuel(fuel)
    store.set_epoch_deadline(1)
    timer = threading.Timer(max(0.0, seconds), interrupt)
    timer.start()
    try:
        yield
    except (wasmtime.WasmtimeError, wasmtime.Trap):
        spent = late.is_set() or store.get_fuel() == 0
        raise DesignFailure("provider.timeout" if spent else otherwise) from None
    finally:
        timer.cancel()
        timer.join()
