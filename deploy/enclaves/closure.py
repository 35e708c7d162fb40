"""Which files an enclave's code imports: found by importing it in a fresh interpreter (side: host).

Ours follow from the sources alone, as for every platform (common/enclave/measurement). Of all others (interpreter,
standard library, packages, shared libraries) only what is really imported is taken: a start hashes every file that it
opens, and whole directories make starts of a minute. Imported is whatever our files name anywhere, inside functions,
too. What a package would import later still, by itself, is not found, unless `IMPORTED_LATER` names it: then the
enclave fails, and never runs a file that is not measured (`tests/integration/test_enclave_trees.py` and
`test_gramine_job.py` run enclaves in such trees).

Each file has a fixed place in the enclave's tree, whatever its place outside:

    python/bin/python3   python/lib/python3.X/…    interpreter and standard library
    packages/…                                      packages
    libraries/SONAME                                shared libraries of the system; the C library is Gramine's own
    lib64/ld-linux-x86-64.so.2                      the dynamic loader, likewise
    code/…                                          ours, with the trust settings
"""

import json
import re
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from common.enclave.environment import Environment
from common.enclave.import_closure import foreign_modules, import_closure
from common.enclave.measurement import INTERPRETER_FLAGS, OWN_PACKAGES
from common.enclave.roles import RoleSpec
from common.errors import UnavailableError

TRACING: Final = Path(__file__).with_name("tracing.py")
INTERPRETER: Final = "python/bin/python3"
PACKAGES: Final = "packages"
LIBRARIES: Final = "libraries"
CODE: Final = "code"
LOADER: Final = "lib64/ld-linux-x86-64.so.2"

TOOLCHAIN: Final = tuple(
    f"common.sandboxed.{name}" for name in ("design_training", "eager_optimisers", "engines", "model_state")
)
"""Entries of what trains and computes designs inside enclaves that have no sandbox for a process of its own."""

IMPORTED_LATER: Final = ("numpy.ma",)
"""Modules that a package imports by itself, long after it was imported: this one for `np.unique`."""

LOOKED_FOR: Final = ("torch/bin/torch_shm_manager",)
"""Files of packages that are only looked for, when the package is imported."""

_TRACE_SECONDS: Final = 300
_LDD_LINE: Final = re.compile(r"^\s*(\S+) => (/\S+) \(0x")


def foreign_files(
    spec: RoleSpec,
    code_root: Path,
    environment: Environment,
    runtime: Path,
    own_packages: Collection[str] = OWN_PACKAGES,
) -> dict[str, Path]:
    """Place -> file, of all that is not ours. `runtime` has Gramine's C library; `own_packages` are ours.

    Raises `UnavailableError` (unavailable.launcher) when an import fails otherwise than by not being there.
    """
    imported, mapped = _trace(_imports_of(spec, code_root, own_packages), code_root, environment)
    found: dict[str, Path] = {}
    for path in (*imported, *mapped):
        if (place := _place_of(path, environment)) is not None:
            found[place] = path
    found |= _descriptions(found, environment)
    libraries = [path for path in mapped if not path.is_relative_to(code_root)]
    found |= _libraries(environment.executable, libraries, found.values(), runtime)
    found[INTERPRETER] = environment.executable
    found[LOADER] = runtime / Path(LOADER).name
    return found


def _imports_of(spec: RoleSpec, code_root: Path, own_packages: Collection[str]) -> list[str]:
    """Every module, ours and others', that any of our files in the enclave names, or that these import later."""
    entries = [spec.entry, *(TOOLCHAIN if spec.needs_sandbox else ())]
    names = frozenset().union(*(import_closure(entry, code_root, own_packages) for entry in entries))
    own = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names}
    foreign = foreign_modules(names, code_root, own_packages)
    return sorted(foreign | own | {name for name in IMPORTED_LATER if name.split(".")[0] in foreign})


def _trace(modules: Iterable[str], code_root: Path, environment: Environment) -> tuple[list[Path], list[Path]]:
    command = [str(environment.executable), *INTERPRETER_FLAGS, "-X", "pycache_prefix=/nowhere", str(TRACING)]
    command += [str(code_root), *map(str, environment.site_packages), "--", *modules]
    done = subprocess.run(
        command, env={}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_TRACE_SECONDS
    )
    if done.returncode != 0:
        raise UnavailableError("unavailable.launcher", expected="imports that succeed", seen=done.stderr[-2000:])
    imported, mapped = json.loads(done.stdout)
    return [Path(path) for path in imported], [Path(path) for path in mapped]


def _place_of(path: Path, environment: Environment) -> str | None:
    """Where a file of interpreter or packages lies in the tree; None for all others, and for packages' paperwork."""
    for number, site in enumerate(environment.site_packages):
        if path.is_relative_to(site):
            inside = path.relative_to(site)
            return None if inside.parts[0].endswith(".dist-info") else f"{package_folder(number)}/{inside}"
    library = environment.standard_library
    if path.is_relative_to(library):
        return f"python/lib/{library.name}/{path.relative_to(library)}"
    return None


def package_folder(number: int) -> str:
    """Where the files of the environment's `number`th folder of packages lie."""
    return PACKAGES if number == 0 else f"{PACKAGES}{number}"


def _descriptions(found: Mapping[str, Path], environment: Environment) -> dict[str, Path]:
    """METADATA of the packages that are imported, of which programs ask the version, and what they look for."""
    folders = {package_folder(number): site for number, site in enumerate(environment.site_packages)}
    imported = {tuple(place.split("/")[:2]) for place in found if place.split("/")[0] in folders}
    described = {}
    for folder, name in imported:
        for path in folders[folder].glob(f"{name}-*.dist-info/METADATA"):
            described[f"{folder}/{path.parent.name}/METADATA"] = path
        for path in (folders[folder] / one for one in LOOKED_FOR if one.split("/")[0] == name):
            described[f"{folder}/{path.relative_to(folders[folder])}"] = path
    return described


def _libraries(executable: Path, mapped: Iterable[Path], placed: Iterable[Path], runtime: Path) -> dict[str, Path]:
    """Libraries that are mapped and have no place yet, by the names under which the loader looks for them."""
    known = set(placed)
    wanted = {path.resolve() for path in mapped if path not in known and ".so" in path.name}
    names: dict[str, Path] = {}
    for name, path in _needed([executable, *sorted(path for path in known | wanted if ".so" in path.name)]):
        if path.resolve() in wanted:
            names[name] = path.resolve()
    return {f"{LIBRARIES}/{name}": _own_or_gramine(name, path, runtime) for name, path in sorted(names.items())} | {
        f"{LIBRARIES}/{path.name}": path for path in sorted(runtime.glob("lib*.so*")) if path.is_file()
    }


def _own_or_gramine(name: str, path: Path, runtime: Path) -> Path:
    own = runtime / name
    return own if own.is_file() else path


def _needed(files: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """Names and places of what these files are linked against (ldd, of the C library)."""
    command = ["ldd", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TRACE_SECONDS)
    for line in done.stdout.splitlines():
        if match := _LDD_LINE.match(line):
            yield match[1], Path(match[2])
