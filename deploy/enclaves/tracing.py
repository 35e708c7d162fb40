"""Imports modules in a fresh interpreter and tells which files that took (side: host).

Run by `closure` as a script, with the interpreter's flags of an enclave: `tracing.py SOURCES SITE_PACKAGES... --
MODULE...`. A module that is not there is skipped: names come from `from a import b`, where b may be anything. stdout
gets two JSON lists of paths: files that were imported or read, and shared objects that were mapped.
"""

import contextlib
import importlib
import json
import os
import sys
from pathlib import Path

opened: set[str] = set()


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook (sys.addaudithook): remembers what is opened for reading."""
    if event == "open" and isinstance(arguments[0], str) and not int(str(arguments[2] or 0)) & os.O_WRONLY:
        opened.add(arguments[0])


def imported_files() -> set[str]:
    """Sources and extension modules of everything that is imported by now."""
    found: set[str] = set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if isinstance(path, str):
            found.add(path)
    return found


def mapped_objects() -> set[str]:
    """Files that are mapped executable: interpreter, extension modules, and every library that they brought."""
    with Path("/proc/self/maps").open() as maps:
        parts = [line.split(maxsplit=5) for line in maps]
    return {part[5].strip() for part in parts if len(part) == 6 and "x" in part[1] and part[5].startswith("/")}


def main() -> None:
    """Import everything, then tell."""
    cut = sys.argv.index("--")
    sources, *site_packages = sys.argv[1:cut]
    sys.path[:] = [sources, *(place for place in sys.path if Path(place).is_dir()), *site_packages]
    sys.addaudithook(watch)
    for module in sys.argv[cut + 1 :]:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    files = {path for path in imported_files() | opened if Path(path).is_file()}
    sys.stdout.write(json.dumps([sorted(files), sorted(mapped_objects())]))


if __name__ == "__main__":
    main()
