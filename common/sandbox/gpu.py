"""What of a machine's GPU a training sandbox is given, and whether CUDA computes with it there (side: enclave).

One GPU a sandbox: the first that is here, which an operator chooses by what a container or enclave is given. Of it the
sandbox sees nodes of the driver, named one by one, the driver's libraries, and two things in place of /proc that these
do not start without. docs/gpu.md says what each is for, and what a GPU does to the promises of a sandbox.

Not measured: the driver and its library come from the machine, whatever code an enclave was measured with. So what they
do with rows that are on a GPU no quote vouches for (common/policy_rules, `require_sound_device`).
"""

import functools
import os
import platform
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from common.errors import ConfinementError
from common.sandbox.child import Arrival, Pipes, SandboxChild
from common.sandbox.interpreter import program
from common.sandbox.protocol import SandboxLimits
from common.sandbox.tree import Tree, plain_tree
from common.sandboxed.wire import THREAD_FOLDER

CONTROL_NODES: Final = ("/dev/nvidiactl", "/dev/nvidia-uvm")
"""Of the driver: resources and memory of all GPUs; unified memory, which every context has."""

LIBRARY: Final = "libcuda.so.1"
OTHER_LIBRARIES: Final = ("libnvidia-ptxjitcompiler.so.1",)
"""The driver's user space, and what it opens for itself where it finds it: cuBLAS has kernels that need the second."""

TORCH_LIBRARY: Final = "lib/libtorch_cuda.so"
"""Below torch's folder, of its builds for CUDA alone."""

_NUMBERED: Final = re.compile(r"nvidia([0-9]+)")

MEMORY_MAP: Final = "/proc/self/maps"
NO_MAPPINGS: Final = b"00400000-00401000 r--p 00000000 00:00 0 \n"
"""In place of the file in which the library looks for addresses that are free: one page, and all else is. It asks the
kernel without insisting, so it takes what is really free."""

SCRATCH_BYTES: Final = 1 << 20

PROBE_SECONDS: Final = 60.0

LIMITS: Final = SandboxLimits(memory_bytes=16 << 30, threads=64)
"""What CUDA and its libraries take on top: tables of kernels, staging memory, threads that wait for the driver."""


@dataclass(frozen=True)
class Gpu:
    """What computes: its compute capability, which says what it can, and its name."""

    capability: tuple[int, int]
    name: str


def driver_folders() -> tuple[Path, ...]:
    """Where distributions, and images for machines with a GPU, have the driver's library."""
    multiarch = f"{platform.machine()}-linux-gnu"
    system = (f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/lib64", "/usr/lib64")
    return tuple(map(Path, (*system, "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib")))


def find_nodes(folder: Path = Path("/dev")) -> tuple[str, ...]:
    """Paths of the control nodes and of the first GPU. Raises `ConfinementError` (confinement.gpu)."""
    missing = [node for node in CONTROL_NODES if not (folder / Path(node).name).exists()]
    numbers = [int(found[1]) for path in folder.glob("nvidia*") if (found := _NUMBERED.fullmatch(path.name))]
    if missing or not numbers:
        raise ConfinementError("confinement.gpu", expected="an NVIDIA GPU", seen=f"no {missing or '/dev/nvidia0'}")
    return (*CONTROL_NODES, f"/dev/nvidia{min(numbers)}")


def find_library(name: str = LIBRARY) -> Path:
    """A library of the driver. Raises `ConfinementError` (confinement.gpu)."""
    for path in (folder / name for folder in driver_folders()):
        if path.exists():
            return path.resolve()
    raise ConfinementError("confinement.gpu", expected=f"{name} of the NVIDIA driver", seen="none")


def with_gpu(tree: Tree) -> Tree:
    """The same tree with the GPU in it. Raises `ConfinementError` (confinement.gpu)."""
    nodes = find_nodes()
    libraries = {f"/libraries/{name}": str(find_library(name)) for name in (LIBRARY, *OTHER_LIBRARIES)}
    files = {MEMORY_MAP: NO_MAPPINGS, f"{THREAD_FOLDER}/0": b""}
    return replace(tree, binds={**tree.binds, **libraries}, files={**tree.files, **files}, gpu_nodes=nodes)


@functools.cache
def require_gpu() -> Gpu:
    """What CUDA computed with, once, in a sandbox without provider code.

    Raises `ConfinementError` (confinement.gpu) where it does not; confinement itself was required before.
    """
    tree = with_gpu(plain_tree({}, scratch_bytes=SCRATCH_BYTES))
    if not Path(tree.binds["/packages/torch"], TORCH_LIBRARY).exists():
        raise ConfinementError("confinement.gpu", expected="torch's build for CUDA", seen="a build without")
    pipes = Pipes()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with os.fdopen(writer, "wb") as errors:
            child = SandboxChild(tree, program("gpu_probe"), pipes, errors=errors)
        deadline = time.monotonic() + PROBE_SECONDS
        while pipes.await_byte(deadline) is Arrival.BYTE:  # it sends none: its end is awaited
            continue
        child.kill()
        said = os.read(reader, 4096).decode(errors="replace")
    finally:
        os.close(reader)
    return parse_answer(said)


def parse_answer(said: str) -> Gpu:
    """From what the probe said last. Raises `ConfinementError` (confinement.gpu)."""
    last = "".join(said.strip().splitlines()[-1:])
    found = re.fullmatch(r"capability ([0-9]+) ([0-9]+) (.*)", last)
    if found is None:
        raise ConfinementError("confinement.gpu", expected="CUDA in a sandbox", seen=last or "nothing")
    return Gpu((int(found[1]), int(found[2])), found[3])
