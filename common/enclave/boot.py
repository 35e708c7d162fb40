"""The first measured code of an enclave (side: enclave).

Started by the launcher as `python -I -S -B ... SNAPSHOT/common/enclave/boot.py ENTRY SITE_PACKAGES...`. Before any of
the enclave's own code is imported:

  (1) it dies with its launcher, and is already over if that is gone;
  (2) no core dump, no debugger, no /proc access for others of the same user;
  (3) descriptors: 0 and 1 are the door, 3 the private socket (not inherited by children), 2 leads nowhere, no others;
  (4) the environment is empty;
  (5) modules come from the snapshot, the standard library and site-packages, all measured, and from nowhere else.
"""

import ctypes
import importlib
import os
import resource
import select
import signal
import sys

PRIVATE_SOCKET = 3
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # linux/prctl.h


def _end_with_the_launcher() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    waiting = select.poll()
    waiting.register(PRIVATE_SOCKET, 0)
    if waiting.poll(0):  # hung up: the launcher was gone before the line above took effect
        os._exit(1)


def _hide_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _keep_only_the_door() -> None:
    os.set_inheritable(PRIVATE_SOCKET, False)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.closerange(PRIVATE_SOCKET + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _measured_path(site_packages: list[str]) -> list[str]:
    snapshot = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return [snapshot, *(place for place in sys.path if os.path.isdir(place)), *site_packages]


def main() -> None:
    """Run the entry's `main()`; its exception, if any, ends the process with status 1 and no words."""
    entry, *site_packages = sys.argv[1:]
    _end_with_the_launcher()  # (1)
    _hide_memory()  # (2)
    _keep_only_the_door()  # (3)
    os.environ.clear()  # (4)
    sys.argv[:] = [entry]
    sys.path[:] = _measured_path(site_packages)  # (5)
    importlib.import_module(entry).main()


if __name__ == "__main__":
    main()
