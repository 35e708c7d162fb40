# mypy: ignore-errors
"""Using up more than was given: each tries to get a little more than its bound, and no more (side: sandbox)."""

import contextlib
import ctypes
import mmap
import os
import resource
import shutil
import tempfile
import threading

from attempting import libc, map_memory
from bounds import ADDRESS_BYTES, MEMORY_BYTES, OPEN_FILES, SCRATCH_BYTES, SCRATCH_FILES, STACK_BYTES, THREADS

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_MAP_GROWSDOWN = 0x100
_MAP_NORESERVE = 0x4000
_STEP = 64 << 20


def map_many(size: int, flags: int, fd: int = -1) -> None:
    """Mappings of so many bytes together, given back at the end. Nothing of them is touched."""
    held = []
    try:
        for _ in range(size // _STEP + 1):
            held.append(map_memory(_STEP, _READ_WRITE, flags, fd))
    finally:
        for address in held:
            libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(_STEP))


def private() -> None:
    map_many(MEMORY_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)


def shared() -> None:
    map_many(0, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)


def shared_zero() -> None:
    """A shared mapping of /dev/zero is shared anonymous memory by another name."""
    fd = os.open("/dev/zero", os.O_RDWR)
    try:
        map_many(ADDRESS_BYTES, mmap.MAP_SHARED, fd)
    finally:
        os.close(fd)


def growing_down() -> None:
    """A mapping that grows down counts as a stack, which no limit of data bounds."""
    map_many(ADDRESS_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_GROWSDOWN | _MAP_NORESERVE)


def heap() -> None:
    libc.sbrk.restype = ctypes.c_void_p
    if libc.sbrk(ctypes.c_long(MEMORY_BYTES)) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "no memory")
    libc.sbrk(ctypes.c_long(-MEMORY_BYTES))


def turn_writable() -> None:
    """Read-only memory costs nothing, until it is made writable."""
    size = MEMORY_BYTES + _STEP
    address = map_memory(size, mmap.PROT_READ, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE)
    try:
        if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), _READ_WRITE) != 0:
            raise OSError(ctypes.get_errno(), "no memory")
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))


def larger_stack() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if hard == resource.RLIM_INFINITY:
        return
    if hard <= STACK_BYTES:
        raise OSError("no more stack")


def disk() -> None:
    folder = tempfile.mkdtemp()
    try:
        for number in range(SCRATCH_BYTES // (1 << 20) + 2):
            with open(f"{folder}/{number}", "wb") as file:
                file.write(bytes(1 << 20))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sparse() -> None:
    """A file that is long and empty, then mapped: its pages would come when they are written."""
    folder = tempfile.mkdtemp()
    try:
        with open(f"{folder}/sparse", "wb") as file:
            file.truncate(SCRATCH_BYTES + (1 << 20))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def inodes() -> None:
    folder = tempfile.mkdtemp()
    try:
        for number in range(SCRATCH_FILES + 2):
            open(f"{folder}/{number}", "wb").close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def threads() -> None:
    end, started = threading.Event(), []
    try:
        while len(started) < THREADS:
            started.append(threading.Thread(target=end.wait))
            started[-1].start()
    except RuntimeError as cause:
        started.pop()
        raise OSError(11, "no more threads") from cause
    finally:
        end.set()
        for thread in started:
            thread.join()


def descriptors() -> None:
    held = []
    try:
        for _ in range(OPEN_FILES):
            held.append(os.open(os.devnull, os.O_RDONLY))
    finally:
        for fd in held:
            with contextlib.suppress(OSError):
                os.close(fd)


ATTEMPTS = {
    "memory_private": private,
    "memory_shared": shared,
    "memory_shared_zero": shared_zero,
    "memory_growing_down": growing_down,
    "memory_heap": heap,
    "memory_turned_writable": turn_writable,
    "memory_stack": larger_stack,
    "disk_bomb": disk,
    "disk_sparse": sparse,
    "inode_bomb": inodes,
    "thread_bomb": threads,
    "descriptor_bomb": descriptors,
}
