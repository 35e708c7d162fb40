"""The parts of a sandbox's tree that are Python and torch: found on this machine, bound read-only (side: enclave).

Only what training with torch needs is bound: the interpreter, its standard library, torch with what it imports, and the
system libraries that these link against. Each gets a fixed place in the tree, whatever its place outside, so that a
path outside (a home, a checkout) never shows inside.

    /python/bin/python3   /python/lib/python3.X      interpreter and standard library, without its site-packages
    /packages/<name>                                 torch and its dependencies; for graphs, a part of OpenVINO
    /libraries/<soname>                              shared libraries, found through LD_LIBRARY_PATH
"""

import os
import platform
import sys
from pathlib import Path
from typing import Final

from common.errors import ConfinementError

PACKAGES: Final = (
    "torch", "torchgen", "functorch", "numpy", "numpy.libs", "typing_extensions.py", "sympy", "mpmath", "networkx",
    "jinja2", "markupsafe", "filelock", "fsspec", "nvidia", "triton",
)  # fmt: skip
"""torch 2.13 and the dependencies that its metadata names; NumPy. Those that are not installed are left out.

The last two belong to torch's build for CUDA, which is what the public index gives: without their libraries it is not
even imported, on a machine without a GPU either.
"""

ENGINE_FILES: Final = (
    "_pyopenvino.*.so", "libs/libopenvino.so.*", "libs/libopenvino_*_cpu_plugin.so", "libs/libtbb.so.*",
)  # fmt: skip
"""Of OpenVINO, below its folder: the native bindings, the runtime and the processor's plugin. Nothing of its Python, no
reader of files (frontends), no other device; and they are bound where a graph is served, never beside provider code."""

LIBRARIES: Final = (
    "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1", "libgcc_s.so.1",
    "libstdc++.so.6", "libgomp.so.1", "libz.so.1", "libbz2.so.1.0", "liblzma.so.5", "libffi.so.7", "libffi.so.8",
    "libexpat.so.1", "libuuid.so.1", "libcrypto.so.3", "libcrypto.so.1.1", "libssl.so.3", "libssl.so.1.1",
)  # fmt: skip
"""What Python's extension modules and torch's libraries link against, by soname; a machine has some of them."""

LOADERS: Final = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}
"""The dynamic loader's path, which is part of the platform's ABI and written into every program."""

ENVIRONMENT: Final = {
    "PYTHONHOME": "/python",
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "LD_LIBRARY_PATH": "/libraries",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "HOME": "/",
    "TMPDIR": "/scratch",
}
"""The whole environment of a sandbox. One hash seed for all, so that equal seeds mean equal runs."""

GPU_ENVIRONMENT: Final = {"CUDA_CACHE_DISABLE": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""With a GPU, on top: no files with compiled kernels, since there is no place for them; workspaces that make cuBLAS
deterministic (https://docs.nvidia.com/cuda/cublas/#results-reproducibility)."""

COMMAND: Final = ("/python/bin/python3", "-s", "-S", "-B", "-P", "-c")

_PROLOGUE = "import sys; sys.path[:0] = ['/code', '/packages']; "


def program(module: str) -> tuple[str, ...]:
    """The command that runs `main()` of a module of common.sandboxed inside the tree."""
    return (*COMMAND, f"{_PROLOGUE}from common.sandboxed.{module} import main; main()")


def find_binds() -> dict[str, str]:
    """Place in the tree -> path on this machine. Raises `ConfinementError` (confinement.failed) without torch."""
    executable = Path(sys.executable).resolve()
    library = Path(os.__file__).resolve().parent
    binds = {"/python/bin/python3": str(executable), f"/python/lib/{library.name}": str(library)}
    binds |= {f"/packages/{name}": str(path) for name, path in _packages().items()}
    binds |= {f"/libraries/{name}": str(path) for name, path in _libraries(executable).items()}
    loader = LOADERS.get(platform.machine())
    if loader is None or not Path(loader).exists():
        raise ConfinementError(
            "confinement.failed", expected=f"a machine of {sorted(LOADERS)}", seen=platform.machine()
        )
    binds[loader] = str(Path(loader).resolve())
    return binds


def engine_binds() -> dict[str, str]:
    """Likewise for OpenVINO; empty where it is not installed."""
    for folder in map(Path, sys.path):
        if (folder / "torch").is_dir():
            files = [path for pattern in ENGINE_FILES for path in sorted((folder / "openvino").glob(pattern))]
            return {f"/packages/{path.relative_to(folder)}": str(path) for path in files}
    return {}


def processor_description() -> bytes:
    """/proc/cpuinfo without the lines that change from moment to moment.

    torch's cpuinfo library reads it to choose its kernels; without it, AVX2 and AVX-512 stay unused.
    """
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return (
        "\n".join(line for line in lines if not line.startswith(("cpu MHz", "BogoMIPS", "bogomips"))).encode() + b"\n"
    )


def _packages() -> dict[str, Path]:
    for folder in map(Path, sys.path):
        if (folder / "torch").is_dir():
            return {name: folder / name for name in PACKAGES if (folder / name).exists()}
    raise ConfinementError("confinement.failed", expected="torch in one of the folders of sys.path")


def _libraries(executable: Path) -> dict[str, Path]:
    multiarch = f"{platform.machine()}-linux-gnu"
    folders = [Path(f"/lib/{multiarch}"), Path(f"/usr/lib/{multiarch}"), Path("/lib64"), Path("/usr/lib64")]
    found = {}
    for name in LIBRARIES:
        for path in (folder / name for folder in folders):
            if path.exists():
                found[name] = path.resolve()
                break
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (executable.parent.parent / "lib").glob(f"libpython{version}.so.*"):
        found[path.name] = path.resolve()
    return found
