"""The file tree that a child sees, described: what is bound, what is copied from memory (side: enclave).

Our own code and the provider's bundle are copied from memory into a tmpfs of the stage's private mount namespace, so
the plaintext of provider code never reaches a disk, a command line or the mount table. The tree is mounted read-only.
Our own code comes with its bytecode, which the enclave compiles once: a child can't keep what it compiles.
"""

import functools
import hashlib
import importlib.util
import marshal  # noqa: TID251 - bytecode is written here, never read
import struct
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import common.sandboxed
from common.crypto.digests import transcript
from common.crypto.labels import SEED_DEVICE
from common.sandbox.bubblewrap import DEVICES, TREE_FOLDER
from common.sandbox.interpreter import engine_binds, find_binds, processor_description
from common.sandbox.protocol import SandboxSeeds
from common.sandboxed.wire import BUNDLE_FOLDER, CONFIGURATION_FILE, INNER_FILTER_FILE, SCRATCH_FOLDER

TREE_OVERHEAD_BYTES = 4 << 20
"""Room in the tree's tmpfs beside the bundle's files: our code, filter, configuration, rounding to pages."""

DEVICE_BYTES = 256 << 10
"""16,384 numbers of a UUID's size: seeds, names of temporary files."""

_MASK = (1 << 64) - 1

SCRATCH_FILES = 4096
"""Most files and folders in a scratch folder: each costs kernel memory that no size bounds."""


@dataclass(frozen=True)
class Tree:
    """Binds by place, files by place (copied from memory), and the scratch folder's bytes (0: none is writable).

    `gpu_nodes`: device nodes of a GPU, where there is one in it (common/sandbox/gpu).
    """

    binds: Mapping[str, str]
    files: Mapping[str, bytes]
    scratch_bytes: int = 0
    gpu_nodes: tuple[str, ...] = ()

    def describe(self, command: list[str]) -> bytes:
        """What the stage reads (its docstring has the format): the tree, and the command that it becomes afterwards."""
        binds = {**self.binds, **{device: device for device in (*DEVICES, *self.gpu_nodes)}}
        tree_bytes = sum(map(len, self.files.values())) + TREE_OVERHEAD_BYTES + 4096 * len(self.files)
        head = (TREE_FOLDER, tree_bytes, SCRATCH_FOLDER, self.scratch_bytes, SCRATCH_FILES, len(binds), len(self.files))
        fields = [str(one).encode() for one in head]
        fields += [text.encode() for bind in binds.items() for text in bind]
        for place, data in self.files.items():
            fields += (place.encode(), data)
        fields += [one.encode() for one in command]
        return b"".join(len(one).to_bytes(8, "big") + one for one in fields)


def plain_tree(files: Mapping[str, bytes], *, scratch_bytes: int = 0, engines: bool = False) -> Tree:
    """Interpreter, torch, our sandboxed code, with further `files` by place; of /proc one file is there, a copy.

    `engines`: what computes graphs faster than torch is there, too.
    """
    binds, same_for_all = _fixed_parts()
    return Tree({**binds, **engine_binds()} if engines else binds, {**same_for_all, **files}, scratch_bytes)


def random_device(seeds: SandboxSeeds) -> bytes:
    """What /dev/urandom holds in a sandbox: numbers of the enclave's, the same for equal seeds. Then it ends."""
    numbers = struct.pack("<QQ", seeds.initial & _MASK, seeds.stream & _MASK)
    return hashlib.shake_256(transcript(SEED_DEVICE, numbers)).digest(DEVICE_BYTES)


def provider_tree(
    bundle: Mapping[str, bytes],
    configuration: bytes,
    inner_filter: bytes,
    *,
    randomness: bytes,
    scratch_bytes: int = 0,
    engines: bool = False,
) -> Tree:
    """The tree of a sandbox for the files of a bundle."""
    files = {f"{BUNDLE_FOLDER}/{path}": data for path, data in bundle.items()}
    files["/dev/urandom"] = randomness
    files[CONFIGURATION_FILE] = configuration
    files[INNER_FILTER_FILE] = inner_filter
    return plain_tree(files, scratch_bytes=scratch_bytes, engines=engines)


@functools.cache
def _fixed_parts() -> tuple[dict[str, str], dict[str, bytes]]:
    """Binds, and files: the one of /proc, our code, bytecode of it and of packages that are a file and not a folder."""
    binds, code = find_binds(), _own_code()
    single = {place: path for place, path in binds.items() if place.startswith("/packages/") and place.endswith(".py")}
    sources = code | {place: Path(path).read_bytes() for place, path in single.items()}
    compiled = dict(bytecode(place, source) for place, source in sources.items())
    return binds, {"/proc/cpuinfo": processor_description(), **code, **compiled}


def _own_code() -> dict[str, bytes]:
    """The measured code beside this file: only `common/__init__` and `common/sandboxed`."""
    folder = Path(common.sandboxed.__file__).resolve().parent
    code = {f"/code/common/sandboxed/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    return code | {"/code/common/__init__.py": (folder.parent / "__init__.py").read_bytes()}


def bytecode(place: str, source: bytes) -> tuple[str, bytes]:
    """Where Python looks for what it would compile `source` to, and that file.

    Layout: PEP 552, with a hash of the source that the interpreter need not check, because nobody changes the tree.
    """
    folder, _, name = place.rpartition("/")
    compiled = marshal.dumps(compile(source, place, "exec", dont_inherit=True))
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return f"{folder}/__pycache__/{name.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc", head + compiled
