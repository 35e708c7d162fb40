"""Packing a design: plain Python becomes a component, on the provider's own machine (side: owner).

`entry` names the file and the class: `module:Class`. A ready `module.wasm` is taken as it is, whatever language it was
written in, if it fits common/sandbox/wasm/design.wit; else `module.py` is built with componentize-py, which brings
CPython along and replaces WASI by stubs that trap, so the component imports nothing. The class:

    class Design:
        def design(self, profile): ...         # a `design` document, as a dict or as text
        def after_epoch(self, metrics): ...     # None: go on; "stop"; or a dict of factors, as in `change`

`profile` and `metrics` have the attributes of design.wit, with `_` for `-`. The module's top level and the class's
constructor run while building and are part of the component; what is imported later, in a call, traps. Builds are not
reproducible bit by bit: the component is what counts and what is sealed.

In this order: (1) the source is there once, (2) it is built, (3) the outline is within bounds, (4) it compiles, starts
and has the interface, in the very sandbox that an enclave would use.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from common.bundle import (
    COMPONENT_FILE,
    DESCRIPTION_FILE,
    BundleContents,
    BundleDescription,
    BundleManifest,
    design_layout,
)
from common.errors import FormatError, UnavailableError

BUILDING_SECONDS: Final = 300
"""Building takes 12 s on two cores."""

_GLUE_MODULE: Final = "cloister_component"
_GLUE: Final = """
import json

from {module} import {name}
from wit_world import exports
from wit_world.exports import modelling

designer = {name}()


class Modelling(exports.Modelling):
    def design(self, profile):
        answer = designer.design(profile)
        return answer if isinstance(answer, str) else json.dumps(answer)

    def after_epoch(self, metrics):
        answer = designer.after_epoch(metrics)
        if answer is None:
            return modelling.Steering_Continue()
        if answer == "stop":
            return modelling.Steering_Stop()
        factors = {{"learning_rate": 1.0, "weight_decay": 1.0, "augmentation": 1.0}}
        unknown = answer.keys() - factors.keys()
        if unknown:
            raise ValueError(f"no factors of a change: {{sorted(unknown)}}")
        factors.update((key, float(value)) for key, value in answer.items())
        return modelling.Steering_Change(modelling.Change(**factors))
"""


def pack_component(
    directory: Path, description: BundleDescription, described: bytes, *, started: bool = True
) -> BundleContents:
    """The bundle of a directory whose `provider.toml` (`described`) says `kind = "wasm"`, after it has started once.

    Not `started`: without (4), for whoever starts it next. Raises `FormatError` (format.bundle) and `UnavailableError`
    (unavailable.component_builder).
    """
    contents = component_bundle(directory, description, described)
    if started:
        require_start(contents)  # (4)
    return contents


def component_bundle(directory: Path, description: BundleDescription, described: bytes) -> BundleContents:
    """The same, not started."""
    module, _, name = description.entry.partition(":")
    ready, source = (directory / f"{module.replace('.', '/')}{ending}" for ending in (".wasm", ".py"))
    if ready.is_file() == source.is_file():  # (1)
        raise FormatError("format.bundle", expected=f"either {source.name} or {ready.name}", seen="both or neither")
    code = ready.read_bytes() if ready.is_file() else build_component(directory, module, name)  # (2)
    manifest = BundleManifest(**dict(description), layout=design_layout(description.max_parameters or 0))
    require_outline(code)  # (3)
    return BundleContents(manifest=manifest, files={COMPONENT_FILE: code, DESCRIPTION_FILE: described})


def build_component(directory: Path, module: str, name: str) -> bytes:
    """Build `module:name` of a directory's Python files; its own last words stand in the refusal."""
    from common.sandbox import wasm

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        shutil.copytree(directory, place / "code", ignore=_not_python)  # the build may write into it
        (place / "code" / f"{_GLUE_MODULE}.py").write_text(_GLUE.format(module=module, name=name))
        shutil.copy(Path(wasm.__file__).with_name("design.wit"), place / "design.wit")
        command = [sys.executable, "-I", "-c", "from componentize_py import script; script()"]
        command += ["-q", "-d", "design.wit", "-w", "designer", "componentize", _GLUE_MODULE]
        command += ["-p", "code", "--stub-wasi", "-o", "made.wasm"]
        try:
            done = subprocess.run(
                command, cwd=place, env={}, capture_output=True, timeout=BUILDING_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as cause:
            raise FormatError("format.bundle", expected=f"a design built within {BUILDING_SECONDS} seconds") from cause
        if (place / "made.wasm").is_file() and done.returncode == 0:
            return (place / "made.wasm").read_bytes()
    last_words = done.stderr.decode(errors="replace").strip()
    if "No module named 'componentize_py'" in last_words:
        raise UnavailableError("unavailable.component_builder")
    raise FormatError("format.bundle", expected="Python that componentize-py builds", seen=last_words[-400:])


def require_outline(code: bytes) -> None:
    """Refuse what no enclave would compile. Raises `FormatError` (format.bundle)."""
    from common.sandbox.wasm.outline import OutlineError, read_outline

    try:
        read_outline(code)
    except OutlineError as cause:
        raise FormatError("format.bundle", expected="a component that fits design.wit", seen=cause) from cause


def require_start(contents: BundleContents) -> None:
    """Compile and start it as an enclave would. Raises `FormatError` (format.bundle)."""
    from common.sandbox.protocol import SandboxSeeds
    from common.sandbox.wasm.designer import WasmDesigner

    designer = WasmDesigner.start(contents, SandboxSeeds(initial=0, stream=0))
    code = designer.code
    designer.close()
    if code is not None:
        expected = "a component that starts within the sandbox's limits and exports what design.wit says"
        raise FormatError("format.bundle", expected=expected, seen=code)


def _not_python(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py") and (name.startswith((".", "__")) or "." in name)}
