"""Deeds of CPython in the `wasm` sandbox: what a clock, a file or a socket are to such a component (side: library)."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Final

from client.provider_template import write_template
from common.component_packing import build_component
from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.designer import DesignOutcome, WasmDesigner
from common.sandbox.wasm.interface import Column, Label, Profile
from common.sandbox.wasm.limits import DEFAULT_LIMITS
from tests.fakes.wasm_components import PROFILE, wasm_bundle
from tests.security.sandbox.wasm_parts import SECONDS, SEEDS, MemoryStore

HERE: Final = Path(__file__).resolve().parents[1]
EXAMPLES: Final = HERE.parents[2] / "examples" / "providers"
BUILT: Final = HERE / "hostile_design" / "everything.wasm"
"""Is there in an enclave's tree alone: building takes processes of its own, which an enclave has not."""

LIMITS: Final = replace(DEFAULT_LIMITS, design_fuel=500_000_000)

_RAISED: Final = ("provider.raised",)

DEEDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "clock": ("read the time", _RAISED),
    "monotonic": ("read the time", _RAISED),
    "sleep": ("wait", _RAISED),
    "entropy": ("draw from the machine", _RAISED),
    "open": ("read a file", _RAISED),
    "write": ("leave a file", _RAISED),
    "list": ("list a folder", _RAISED),
    "socket": ("connect", _RAISED),
    "resolve": ("ask for a name", _RAISED),
    "thread": ("run beside itself", _RAISED),
    "process": ("start a program", _RAISED),
    "environment": ("read the environment", _RAISED),
    "late import": ("load code", _RAISED),
    "leave": ("end the process", _RAISED),
    "recursion": ("use up the stack", _RAISED),
    "exception": ("put data into the text of an exception", _RAISED),
    "grow": ("use up memory", _RAISED),
    "loop": ("never end", ("provider.timeout",)),
    "speak": ("print data", ("provider.raised", "provider.output")),  # by what its stub does with a print
}
"""Name of the deed in hostile_design/everything.py, what it tries, and the codes that must come of it."""


def build_everything() -> bytes:
    """The component with all deeds, the two examples and what `provider init` writes."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in (HERE / "hostile_design" / "everything.py", *EXAMPLES.glob("*/[at]*_[cm]*.py")):
            shutil.copy(path, scratch)
        list(write_template(Path(scratch, "written"), None, "wasm"))
        shutil.move(Path(scratch, "written", "model.py"), Path(scratch, "template.py"))
        return build_component(Path(scratch), "everything", "Everything")


class Python:
    """That component, compiled once."""

    def __init__(self) -> None:
        self.component = BUILT.read_bytes() if BUILT.exists() else build_everything()
        self.compiled = CompiledDesign(SecretKey.generate(), MemoryStore(), sha256(self.component))
        self.start(deed("clock")).close()

    def start(self, profile: Profile) -> WasmDesigner:
        """A designer that has started. Raises `RuntimeError` with its code."""
        bundle = wasm_bundle(self.component, profile)
        designer = WasmDesigner.start(bundle, SEEDS, LIMITS, compiled=self.compiled, deadline_seconds=800)
        if designer.code is not None:
            raise RuntimeError(designer.code)
        return designer

    def design(self, profile: Profile) -> DesignOutcome:
        """What one job's design is."""
        designer = self.start(profile)
        outcome = designer.design(profile, SECONDS)
        designer.close()
        return outcome


def profile_of(name: str, shape: tuple[int, ...], dtype: str, classes: int) -> Profile:
    """The name of the column says what the component does."""
    column = Column(name, dtype, shape, 0.0, 16.0, 4.9, 6.0)
    label = Label(PROFILE.label.column, counts=(100,) * classes)
    return replace(
        PROFILE,
        rows=100 * classes,
        columns=(column,),
        label=label,
        answer=(classes,),
        max_parameters=60_000,
        max_flops_per_row=10**7,
    )


def deed(name: str) -> Profile:
    """The profile that has a deed done."""
    return profile_of(name, (2,), "float32", 3)
