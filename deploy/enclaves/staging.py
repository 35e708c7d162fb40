"""An enclave's file tree: copies of exactly what it may open (side: host).

Nothing in a manifest then speaks of the machine that built it, and the folder with tree and manifest can be carried to
any other: into an image, onto a host. Trusted files are all files of the tree, no more and no fewer.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from common.crypto.digests import sha256
from common.identifiers import Digest


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file of the tree."""

    place: str
    sha256: Digest
    size_bytes: int


def stage(root: Path, copied: Mapping[str, Path], written: Mapping[str, bytes]) -> list[StagedFile]:
    """Make the tree at `root` anew; its files, sorted by place."""
    if root.exists():
        shutil.rmtree(root)
    for place, path in copied.items():
        shutil.copyfile(path, _room_for(root / place))
    for place, content in written.items():
        _room_for(root / place).write_bytes(content)
    for place in (*copied, *written):
        (root / place).chmod(0o555 if _is_program(place) else 0o444)
    return list_tree(root)


def list_tree(root: Path) -> list[StagedFile]:
    """Every file below `root`, hashed, sorted by place."""
    paths = [Path(parent, name) for parent, _, names in os.walk(root) for name in names]
    listed = []
    for path in paths:
        content = path.read_bytes()
        listed.append(StagedFile(path.relative_to(root).as_posix(), sha256(content), len(content)))
    return sorted(listed, key=lambda file: file.place)


def _room_for(path: Path) -> Path:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def _is_program(place: str) -> bool:
    return "/bin/" in place or ".so" in place
