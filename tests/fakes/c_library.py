"""This machine's C library in a folder, as Gramine keeps its own: for trees that no Gramine will run."""

import shutil
from pathlib import Path
from typing import Final

NAMES: Final = ("ld-linux-x86-64.so.2", "libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1")
_FOLDERS: Final = ("/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64")


def copy_c_library(folder: Path) -> Path:
    """The folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        found = next(Path(place, name) for place in _FOLDERS if Path(place, name).exists())
        shutil.copyfile(found, folder / name)
        (folder / name).chmod(0o755)
    return folder
