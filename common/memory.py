"""What the C library does with memory that is freed (side: library; host and enclave processes call it at their start).

A body of 150 KB is allocated, copied and freed several times on its way. glibc takes such pieces from the kernel or
gives the end of its heap back each time, and the kernel fills pages with zeros anew: sealing a query of 256 KiB then
takes 365 us, with the memory kept 81 (docs/serving.md, Figures).
"""

import ctypes
from typing import Final

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc; mallopt(3)

KEPT_BYTES: Final = 64 << 20
"""Free memory at the heap's end that a process keeps, above which it is given back."""

MAPPED_BYTES: Final = 32 << 20
"""Pieces from this size are mapped by themselves, and given back when they are freed. No larger value is taken."""


def keep_freed_memory() -> None:
    """Keep up to `KEPT_BYTES` for what comes next. Nothing happens where the C library has no such settings."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
