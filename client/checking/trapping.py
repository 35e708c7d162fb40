"""The inner filter of a watched child: the same decisions, but a call that it refuses is told (side: owner, sandbox).

A job's filter answers a refused call with EPERM. The watched child's is that very program with one change: it raises
SIGSYS instead (seccomp(2), SECCOMP_RET_TRAP), and the child's handler writes down number and place, and gives EPERM
back. A refusal with another number (ENOSYS of clone3, which glibc expects) stays as it is.
"""

import ctypes
import errno
import os
import signal
import struct
from collections.abc import Callable
from typing import Any, Final

_INSTRUCTION: Final = struct.Struct("<HBBI")  # struct sock_filter, linux/filter.h: code, jt, jf, k
_RETURN: Final = 0x06  # BPF_RET | BPF_K, linux/bpf_common.h
# linux/seccomp.h
_ERRNO: Final = 0x0005_0000
_TRAP: Final = 0x0003_0000

# struct siginfo and struct ucontext of the kernel's ABI: where the number stands, and the register of the result
_NUMBER_OFFSET: Final = 24
_RESULT_OFFSET: Final = {"x86_64": 144, "aarch64": 184}

_SA_SIGINFO: Final = 0x4
_SA_NODEFER: Final = 0x4000_0000


def trapping(program: bytes) -> bytes:
    """The filter with "fail with EPERM" changed to "raise SIGSYS"."""
    changed = bytearray(program)
    for offset in range(0, len(program), _INSTRUCTION.size):
        code, _, _, value = _INSTRUCTION.unpack_from(program, offset)
        if (code, value) == (_RETURN, _ERRNO | errno.EPERM):
            _INSTRUCTION.pack_into(changed, offset, code, 0, 0, _TRAP)
    return bytes(changed)


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
    """Call `refused` with the number of each call that the trapping filter refuses; the call fails with EPERM.

    SIGSYS is raised by the very thread that made the call, so the handler runs where the call stands.
    """
    result = _RESULT_OFFSET[os.uname().machine]

    def handle(_signal: int, info: int, context: int) -> None:
        refused(ctypes.c_int.from_address(info + _NUMBER_OFFSET).value)
        ctypes.c_int64.from_address(context + result).value = -errno.EPERM

    handler = _HANDLER(handle)
    _kept.append(handler)
    action = _Action(handler=ctypes.cast(handler, ctypes.c_void_p).value, flags=_SA_SIGINFO | _SA_NODEFER)
    library = ctypes.CDLL(None, use_errno=True)
    if library.sigaction(int(signal.SIGSYS), ctypes.byref(action), None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
