"""A file that is replaced whole and survives a crash of the machine (side: owner and host)."""

import os
from pathlib import Path


def replace_durably(path: Path, content: bytes) -> None:
    """Replace `path`, readable by its user alone; when this returns, a crash can't bring the old one back."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
