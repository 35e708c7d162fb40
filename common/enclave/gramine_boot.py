"""The first measured code of an enclave under Gramine (side: enclave).

Started by Gramine's library OS with the arguments and the environment of the manifest, which is measured: `python -I -S
-B ... gramine_boot.py ENTRY PACKAGES...`. What `boot` has to do against the host's other processes (descriptors,
debuggers, core dumps, /proc) the library OS leaves no room for: it has processes, files and signals of its own. Left:

  (1) descriptors 0 and 1 are the door, 2 leads nowhere: what Python prints there the host would read;
  (2) modules come from the code, the standard library and the packages of the enclave's tree, all measured.

An enclave ends with its relay, because its door ends.
"""

import importlib
import os
import sys


def _close_words() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _measured_path(packages: list[str]) -> list[str]:
    code = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [code, *(place for place in sys.path if os.path.isdir(place)), *packages]


def main() -> None:
    """Run the entry's `main()`; its exception, if any, ends the process with status 1 and no words."""
    entry, *packages = sys.argv[1:]
    _close_words()  # (1)
    sys.argv[:] = [entry]
    sys.path[:] = _measured_path(packages)  # (2)
    importlib.import_module(entry).main()


if __name__ == "__main__":
    main()
