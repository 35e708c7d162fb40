"""Packing: a provider's directory becomes a bundle, on the provider's own machine (side: owner).

The order of the checks: (1) paths and sizes, (2) the description in `provider.toml`, (3) the model is built once in a
process of its own and its layout measured, (4) the bounds of the manifest. A bundle of the kind `wasm` goes on in
common/component_packing.py after (2).
"""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from common.bundle import (
    DESCRIPTION_FILE,
    DESIGN_ENTRY,
    DESIGN_FILE,
    MAX_WASM_CONTENT_BYTES,
    BundleContents,
    BundleDescription,
    BundleManifest,
    StateTensor,
    checked_path,
    require_description,
    require_files,
)
from common.component_packing import pack_component
from common.design_bundle import bundle_of_design
from common.errors import FormatError
from common.model_graph.reading import parse_design

PACKING_SECONDS: Final = 120
"""How long the provider's own constructor may take while its layout is measured."""

MOST_WORDS: Final = 16_384
"""Of what Python says of a model that can't be built: its end."""


class NotBuiltError(FormatError):
    """The provider's model could not be built; `words` are what Python said of it, `error` the exception's name."""

    def __init__(self, words: str) -> None:
        last = "".join(words.strip().splitlines()[-1:])
        super().__init__("format.bundle", expected="a model with float parameters", seen=last)
        self.words, self.error = words, last.partition(":")[0].strip()


def read_bundle_directory(directory: Path) -> tuple[BundleDescription, dict[str, bytes]]:
    """Description and files of a provider's directory, sorted by path; caches and hidden files are left out.

    Raises `FormatError` (format.bundle) for symbolic links, special files, unsafe names, and a wrong description.
    """
    files = {path: _read_file(directory / path) for path in sorted(_relative_paths(directory))}
    try:
        for path in files:
            checked_path(path)
        require_description(files)
        described = tomllib.loads(files[DESCRIPTION_FILE].decode())
        description = BundleDescription.model_validate_json(json.dumps(described))
        if description.kind == "native":  # a design's files are not yet those of the bundle
            require_files(files)
    except ValidationError as cause:
        wrong = ", ".join(sorted({".".join(map(str, error["loc"])) + f": {error['msg']}" for error in cause.errors()}))
        raise FormatError("format.bundle", expected=f"a valid {DESCRIPTION_FILE}", seen=wrong) from None
    except (ValueError, tomllib.TOMLDecodeError) as cause:
        raise FormatError("format.bundle", expected=f"a directory with {DESCRIPTION_FILE}", seen=cause) from cause
    return description, files


def _relative_paths(directory: Path) -> list[str]:
    found = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in [*folders, *names]:
            if Path(folder, name).is_symlink():
                raise FormatError("format.bundle", expected="no symbolic links", seen=name)
        found += [str(Path(folder, name).relative_to(directory)) for name in names if not name.startswith(".")]
    return found


def _read_file(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > MAX_WASM_CONTENT_BYTES:
        raise FormatError("format.bundle", expected=f"files of at most {MAX_WASM_CONTENT_BYTES} bytes", seen=path.name)
    return path.read_bytes()


def measure_layout(directory: Path) -> tuple[StateTensor, ...]:
    """Build the provider's model once, in a process of its own on the provider's own machine, and list its state.

    Not a sandbox: a provider runs its own code here. Raises `FormatError` (format.bundle) with the code's own last
    words, which only the provider sees.
    """
    description, _ = read_bundle_directory(directory)
    root = Path(__file__).resolve().parent.parent
    program = "import sys; sys.path.insert(0, sys.argv[1]); from common.sandboxed.measure_layout import main; main()"
    command = [sys.executable, "-I", "-B", "-c", program, str(root), str(directory.resolve()), description.entry]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PACKING_SECONDS, check=False)
        rows: list[dict[str, Any]] = json.loads(done.stdout) if done.returncode == 0 else []
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as cause:
        raise FormatError("format.bundle", expected=f"a model built within {PACKING_SECONDS} seconds") from cause
    if not rows:
        raise NotBuiltError(done.stderr.decode(errors="replace")[-MOST_WORDS:])
    return tuple(StateTensor(name=row["name"], shape=tuple(row["shape"]), buffer=row["buffer"]) for row in rows)


def pack_bundle(directory: Path, *, started: bool = True) -> BundleContents:
    """Read a provider's directory, measure its layout, and put both into one message.

    A design's layout is read, and nothing is run; the design is written anew, as our encoder does. `started`: whether
    design code is compiled and started once (common/component_packing.py). Raises
    `FormatError`, and `UnavailableError` (unavailable.component_builder) where design code can't be built.
    """
    description, files = read_bundle_directory(directory)
    try:
        if description.kind == "wasm":
            return pack_component(directory, description, files[DESCRIPTION_FILE], started=started)
        if description.entry == DESIGN_ENTRY:
            return _pack_design(description, files)
        manifest = BundleManifest(**dict(description), layout=measure_layout(directory))
        return BundleContents(manifest=manifest, files=files)
    except ValidationError as cause:
        raise FormatError("format.bundle", expected="a state within the documented bounds") from cause


def _pack_design(description: BundleDescription, files: dict[str, bytes]) -> BundleContents:
    if files.keys() != {DESCRIPTION_FILE, DESIGN_FILE}:
        raise FormatError("format.bundle", expected=f"{DESIGN_FILE} and {DESCRIPTION_FILE} alone", seen=sorted(files))
    design, _ = parse_design(files[DESIGN_FILE])
    return bundle_of_design(description, design, files[DESCRIPTION_FILE])
