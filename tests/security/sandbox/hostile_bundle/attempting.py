# mypy: ignore-errors
"""How an attempt is judged: it returns when it succeeded, and raises `OSError` when it was refused (side: sandbox).

Plain Python, so that the same attempts can be run outside a sandbox, where they must succeed.
"""

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable

REFUSED, SUCCEEDED, BROKEN = 0.0, 1.0, 2.0

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p

_FILTERED = (errno.EPERM, errno.ENOSYS)
"""What a filter or a missing right gives. Any other error came from the call itself, which was let through."""


def raw(*arguments: object) -> int:
    """A system call. Arguments are chosen so that it does no harm where it is let through: it then fails by itself."""
    result = libc.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments))
    if result < 0 and (number := ctypes.get_errno()) in _FILTERED:
        raise OSError(number, os.strerror(number))
    return result


def opened(*arguments: object) -> None:
    """As `raw`, for a call that returns a descriptor: it is closed."""
    if (fd := raw(*arguments)) >= 0:
        os.close(fd)


def map_memory(size: int, protection: int, flags: int, fd: int = -1) -> int:
    """Address of a new mapping. Raises `OSError`."""
    address = libc.mmap(None, ctypes.c_size_t(size), protection, flags, fd, ctypes.c_long(0))
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "no memory")
    return address


def window_fd(name: str) -> int:
    """A descriptor of this process by its name in the configuration."""
    with open(os.environ.get("ATTACK_CONFIGURATION", "/configuration.json")) as file:
        return int(json.load(file)[name])


def windows() -> object:
    """The windows of the code that called provider code, found on its stack."""
    frame = sys._getframe()
    while "windows" not in frame.f_locals:
        if frame.f_back is None:
            raise OSError("no windows here")
        frame = frame.f_back
    return frame.f_locals["windows"]


def judged(attempt: Callable[[], object]) -> float:
    """How it went."""
    try:
        attempt()
    except (OSError, MemoryError):
        return REFUSED
    except BaseException:
        return BROKEN
    return SUCCEEDED
