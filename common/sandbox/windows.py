"""Memory shared with a sandbox: read-only windows in, one output buffer back (side: enclave).

Every window is an anonymous memory file of whole pages, sealed against growing and shrinking, so that no child can make
the enclave fault by truncating it. A read-only window has F_SEAL_FUTURE_WRITE as well (Linux 5.1): the mapping that
the enclave made before goes on being writable, while a child can neither write nor map it writable, nor turn a mapping
writable; it is handed over by a descriptor that is open for reading only. Whole pages, because what lies between a
file's end and its last page's end would be shared, writable and never wiped.

What is copied is copied by NumPy, which lets other Python run meanwhile: rows and states can be large, and the clock of
the enclave must not wait for them.
"""

import fcntl
import mmap
import os

import numpy as np
from numpy.typing import NDArray

from common.bundle import ColumnSpec
from common.sandboxed.wire import ALIGNMENT, HEADER, Column, Status

_F_SEAL_FUTURE_WRITE = 0x0010  # linux/fcntl.h; the standard library of Python 3.11 does not name it
_FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Window:
    """One window: `child_fd` is what the child inherits. Raises `OSError` where the kernel lacks a seal."""

    def __init__(self, size: int, *, writable_in_child: bool) -> None:
        self._writable_in_child, self._written = writable_in_child, 0
        self.size = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
        fd = os.memfd_create("window", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, self.size)
            self._memory = mmap.mmap(fd, self.size)
            seals = _FIXED_SIZE if writable_in_child else _FIXED_SIZE | _F_SEAL_FUTURE_WRITE
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
            mode = os.O_RDWR if writable_in_child else os.O_RDONLY
            self.child_fd = os.open(f"/proc/self/fd/{fd}", mode | os.O_CLOEXEC)
        finally:
            os.close(fd)

    def write(self, offset: int, values: NDArray[np.generic]) -> None:
        """Put the bytes of a contiguous array at `offset`."""
        raw = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        self._written = max(self._written, offset + raw.nbytes)
        self._bytes()[offset : offset + raw.nbytes] = raw

    def copy(self, size: int) -> memoryview:
        """The first `size` bytes as they are now: a copy, which the child cannot change while it is checked."""
        return self._bytes()[:size].copy().data

    def wipe(self) -> None:
        """Zero every byte that may not be zero: up to the end of the last page where a child could write it."""
        self._bytes()[: self.size if self._writable_in_child else self._written] = 0
        self._written = 0

    def _bytes(self) -> NDArray[np.uint8]:
        """A view, not to be kept: a memory that is viewed can't be closed. Raises `ValueError` when it is closed."""
        return np.frombuffer(self._memory, np.uint8)

    @property
    def closed(self) -> bool:
        """Whether it is forgotten."""
        return self._memory.closed

    def close(self) -> None:
        """Forget it."""
        if not self._memory.closed:
            self._memory.close()
            os.close(self.child_fd)


def plan_columns(columns: tuple[ColumnSpec, ...], rows: int) -> tuple[tuple[Column, ...], int]:
    """Where each column begins in a window for `rows` rows, and the window's size in bytes."""
    planned, offset = [], 0
    for one in columns:
        planned.append(Column(one.column, one.dtype, one.shape, offset))
        offset += -(-rows * one.row_bytes // ALIGNMENT) * ALIGNMENT
    return tuple(planned), offset


def parse_output(copied: bytes | memoryview, sequence: int) -> tuple[Status, int, float, float]:
    """Status, steps, mean loss and last loss of a copied output; a strange header is `Status.OUTPUT`."""
    seen, status, steps, mean, last = HEADER.unpack_from(copied)
    if seen != sequence or status not in set(Status):
        return Status.OUTPUT, 0, 0.0, 0.0
    return Status(status), steps, mean, last
