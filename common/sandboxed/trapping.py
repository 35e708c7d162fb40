"""What a child learns of the calls that its filter refuses (side: sandbox).

A filter that tells refuses what the plain one refuses (common/sandbox/seccomp), but raises SIGSYS for it instead of
failing with EPERM (seccomp(2), SECCOMP_RET_TRAP). The handler here gives EPERM back, and passes the number on.

Not every refusal is told. Starting a process stays EPERM: C libraries do it with all signals blocked, and a trap that
finds SIGSYS blocked kills. Python announces it instead (audit events), so of code in C alone it is not seen.
"""

import ctypes
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

# struct siginfo and struct ucontext of the kernel's ABI: where the number stands, and the register of the result
_NUMBER_OFFSET: Final = 24
_RESULT_OFFSET: Final = {"x86_64": 144, "aarch64": 184}

_CLONE: Final = {"x86_64": 56, "aarch64": 220}
STARTING: Final = frozenset({"os.fork", "os.forkpty", "os.posix_spawn", "os.system"})
"""Audit events of Python just before it starts a process. `subprocess` fails before, at its pipe."""

_SA_SIGINFO: Final = 0x4
_SA_NODEFER: Final = 0x4000_0000


class _Action(ctypes.Structure):
    """struct sigaction of glibc on 64-bit machines."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_HANDLER: Final = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_kept: list[Any] = []


def on_refused_call(refused: Callable[[int], None]) -> None:
    """Call `refused` with the number of each call that a filter which tells refuses; the call fails with EPERM.

    SIGSYS is raised by the very thread that made the call, so the handler runs where the call stands.
    """
    result, clone = _RESULT_OFFSET[os.uname().machine], _CLONE[os.uname().machine]

    def handle(_signal: int, info: int, context: int) -> None:
        ctypes.c_int64.from_address(context + result).value = -errno.EPERM  # first: whatever `refused` does
        refused(ctypes.c_int.from_address(info + _NUMBER_OFFSET).value)

    def hear(event: str, _arguments: tuple[Any, ...]) -> None:
        if event in STARTING:
            refused(clone)

    handler = _HANDLER(handle)
    _kept.append(handler)
    action = _Action(handler=ctypes.cast(handler, ctypes.c_void_p).value, flags=_SA_SIGINFO | _SA_NODEFER)
    library = ctypes.CDLL(None, use_errno=True)
    if library.sigaction(int(signal.SIGSYS), ctypes.byref(action), None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    sys.addaudithook(hear)
