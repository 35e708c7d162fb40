"""Import an enclave's entry once, so that the interpreter writes the bytecode of all it imports (side: host).

Run by `bytecode` as a script, with a fresh `pycache_prefix`, and with the `sys.path` that `boot` will set: there is no
bytecode to read, so every file written comes from a measured source. Nothing of the entry but its imports is executed.
"""

import importlib
import os
import sys


def main() -> None:
    """Arguments: entry module, snapshot, site-packages directories."""
    entry, snapshot, *site_packages = sys.argv[1:]
    sys.path[:] = [snapshot, *(place for place in sys.path if os.path.isdir(place)), *site_packages]
    importlib.import_module(entry)


if __name__ == "__main__":
    main()
