# mypy: ignore-errors
"""The windows of the wall itself: what is read-only, what has a fixed size (side: sandbox)."""

import ctypes
import fcntl
import mmap
import os

from attempting import libc, raw, window_fd, windows

_PUNCH_HOLE = 0x3


def map_writable(name: str) -> None:
    mmap.mmap(window_fd(name), 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()


def make_writable(act) -> None:
    """Turn a mapping of the window that is read-only into a writable one."""
    address = act(windows()).ctypes.data & ~4095
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 3) != 0:
        raise OSError(ctypes.get_errno(), "refused")
    libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 1)


def write_read_only(act) -> None:
    """Through NumPy, which knows that the array may not be written."""
    try:
        act(windows())[...] = 0
    except ValueError as cause:
        raise OSError(1, "read-only") from cause


def first_rows(seen):
    return next(iter(seen.rows(1).values()))


def resize(change: int) -> None:
    fd = window_fd("output_fd")
    os.ftruncate(fd, os.fstat(fd).st_size + change)


def remap_beyond() -> None:
    """A mapping longer than the window: what lies behind its last page must not be there."""
    fd = window_fd("output_fd")
    size = os.fstat(fd).st_size
    os.pwrite(fd, b"x", size + 4096)


ATTEMPTS = {
    "map_rows_writable": lambda: map_writable("input_fd"),
    "map_state_writable": lambda: map_writable("state_fd"),
    "write_rows": lambda: os.pwrite(window_fd("input_fd"), b"x", 0),
    "write_state": lambda: os.pwrite(window_fd("state_fd"), b"x", 0),
    "write_rows_array": lambda: write_read_only(first_rows),
    "make_rows_writable": lambda: make_writable(first_rows),
    "make_state_writable": lambda: make_writable(lambda seen: seen.state_P),
    "truncate_output": lambda: resize(-4096),
    "grow_output": lambda: resize(4096),
    "write_behind_output": remap_beyond,
    "punch_output": lambda: raw(285, window_fd("output_fd"), _PUNCH_HOLE, 0, 4096),
    "seal_output": lambda: fcntl.fcntl(window_fd("output_fd"), fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK),
    "reopen_rows_writable": lambda: os.close(os.open(f"/proc/self/fd/{window_fd('input_fd')}", os.O_RDWR)),
    "read_completions": lambda: os.read(window_fd("completion_fd"), 1),
}
