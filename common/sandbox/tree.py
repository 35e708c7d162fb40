"""The file tree that a child sees, described: what is bound, what is copied from memory (side: enclave).

Our own code and the provider's bundle are copied from memory into a tmpfs of the stage's private mount namespace, so
the plaintext of provider code never reaches a disk, a command line or the mount table. The tree is mounted read-only.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import common.sandboxed
from common.crypto.digests import transcript
from common.crypto.labels import SEED_DEVICE
from common.sandbox.bubblewrap import DEVICES, TREE_FOLDER
from common.sandbox.interpreter import find_binds, processor_description
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
    """Binds by place, files by place (copied from memory), and the scratch folder's bytes (0: none is writable)."""

    binds: Mapping[str, str]
    files: Mapping[str, bytes]
    scratch_bytes: int = 0

    def describe(self, command: list[str]) -> bytes:
        """What the stage reads: the tree, and the command that it becomes afterwards."""
        description = {
            "folder": TREE_FOLDER,
            "binds": {**self.binds, **{device: device for device in DEVICES}},
            "files": {place: base64.b64encode(data).decode() for place, data in self.files.items()},
            "tree_bytes": sum(map(len, self.files.values())) + TREE_OVERHEAD_BYTES + 4096 * len(self.files),
            "scratch": SCRATCH_FOLDER,
            "scratch_bytes": self.scratch_bytes,
            "scratch_files": SCRATCH_FILES,
            "command": command,
        }
        return json.dumps(description).encode()


def plain_tree(files: Mapping[str, bytes], *, scratch_bytes: int = 0) -> Tree:
    """Interpreter, torch, our sandboxed code, with further `files` by place; of /proc one file is there, a copy."""
    return Tree(find_binds(), {"/proc/cpuinfo": processor_description(), **_own_code(), **files}, scratch_bytes)


def random_device(seeds: SandboxSeeds) -> bytes:
    """What /dev/urandom holds in a sandbox: numbers of the enclave's, the same for equal seeds. Then it ends."""
    numbers = struct.pack("<QQ", seeds.initial & _MASK, seeds.stream & _MASK)
    return hashlib.shake_256(transcript(SEED_DEVICE, numbers)).digest(DEVICE_BYTES)


def provider_tree(
    bundle: Mapping[str, bytes], configuration: bytes, inner_filter: bytes, *, randomness: bytes, scratch_bytes: int = 0
) -> Tree:
    """The tree of a sandbox for the files of a bundle."""
    files = {f"{BUNDLE_FOLDER}/{path}": data for path, data in bundle.items()}
    files["/dev/urandom"] = randomness
    files[CONFIGURATION_FILE] = configuration
    files[INNER_FILTER_FILE] = inner_filter
    return plain_tree(files, scratch_bytes=scratch_bytes)


def _own_code() -> dict[str, bytes]:
    """The measured code beside this file: only `common/__init__` and `common/sandboxed`."""
    folder = Path(common.sandboxed.__file__).resolve().parent
    code = {f"/code/common/sandboxed/{path.name}": path.read_bytes() for path in sorted(folder.glob("*.py"))}
    return code | {"/code/common/__init__.py": (folder.parent / "__init__.py").read_bytes()}
