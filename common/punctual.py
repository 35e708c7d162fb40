"""One write at one moment, whatever other threads of this interpreter are doing (side: library).

A thread that wakes at a moment has to wait for the interpreter, longer where others are at work: 20 to 100
microseconds, and who sees the write sees that. So the interpreter is taken `GRIP_SECONDS` before and held through a
sleep of the C library's, and the write begins without any Python between: `map` goes from one call to the next in C,
where no thread is asked to let others run. The write itself holds nothing up: it may block.
"""

import ctypes
import operator
import time
from functools import partial
from typing import Final

GRIP_SECONDS: Final = 0.00015
"""Long enough to get the interpreter (common/exchange/clock, SWITCH_SECONDS), short beside any tick."""

_CLOCK_MONOTONIC: Final = 1
_TIMER_ABSTIME: Final = 1
"""linux/time.h"""

_NANOSECONDS: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long))


_sleep = ctypes.PyDLL(None).clock_nanosleep  # a PyDLL's functions keep the interpreter, a CDLL's let it go
_write = ctypes.CDLL(None).write
_write.argtypes, _write.restype = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t), ctypes.c_ssize_t


def write_at(fd: int, piece: bytes, at: float) -> int:
    """Write at `at` (monotonic seconds), or at once if that is over; how many bytes were, 0 where it failed."""
    time.sleep(max(0.0, at - GRIP_SECONDS - time.monotonic()))
    moment = _Timespec(*divmod(int(at * _NANOSECONDS), _NANOSECONDS))
    sleep = partial(_sleep, _CLOCK_MONOTONIC, _TIMER_ABSTIME, ctypes.byref(moment), None)
    _, written = map(operator.call, (sleep, partial(_write, fd, piece, len(piece))))
    return max(0, int(written))
