# mypy: ignore-errors
"""Ways to carry a number from one query to the next (side: sandbox).

Plain Python, so that they can be shown to work outside.
"""

import builtins
import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

NOTE = "cloister-test-note"


def _windows() -> Any:
    frame = sys._getframe()
    while "windows" not in frame.f_locals:
        if frame.f_back is None:
            raise OSError("no windows here")
        frame = frame.f_back
    return frame.f_locals["windows"]


def remember_global(value: int) -> None:
    builtins.__dict__[NOTE] = value


def recall_global() -> int:
    return int(builtins.__dict__.get(NOTE, 0))


def remember_environment(value: int) -> None:
    os.environ[NOTE] = str(value)


def recall_environment() -> int:
    return int(os.environ.get(NOTE, "0"))


def remember_file(value: int) -> None:
    with open(os.path.join(tempfile.gettempdir(), NOTE), "w") as file:
        file.write(str(value))


def recall_file() -> int:
    path = os.path.join(tempfile.gettempdir(), NOTE)
    with open(path) as file:
        number = int(file.read())
    os.unlink(path)
    return number


def remember_shared_memory(value: int) -> None:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(libc.shmget(0x434C4F49, 4096, 0o1600), None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        raise OSError("refused")
    ctypes.cast(address, ctypes.POINTER(ctypes.c_int))[0] = value


def recall_shared_memory() -> int:
    libc = ctypes.CDLL(None)
    libc.shmat.restype = ctypes.c_void_p
    identifier = libc.shmget(0x434C4F49, 4096, 0o600)
    if identifier < 0:
        return 0
    number = ctypes.cast(libc.shmat(identifier, None, 0), ctypes.POINTER(ctypes.c_int))[0]
    libc.shmctl(identifier, 0, None)
    return int(number)


def remember_descriptor_flags(value: int) -> None:
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_NONBLOCK | os.O_APPEND)


def recall_descriptor_flags() -> int:
    return fcntl.fcntl(0, fcntl.F_GETFL) & (os.O_NONBLOCK | os.O_APPEND)


def remember_lock(value: int) -> None:
    fcntl.flock(0, fcntl.LOCK_EX)


def recall_lock() -> int:
    with open(os.devnull) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 1
    return 0


def remember_parent_limit(value: int) -> None:
    _, hard = resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)
    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (128 + value, hard))


def recall_parent_limit() -> int:
    soft, _ = resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)
    return max(0, soft - 128) if soft < 256 else 0


def remember_affinity(value: int) -> None:
    os.sched_setaffinity(os.getppid(), {0})


def recall_affinity() -> int:
    return int(len(os.sched_getaffinity(os.getppid())) == 1 < (os.cpu_count() or 1))


def remember_process(value: int) -> None:
    """Leave somebody behind; the next query would see the process number move by more than one."""
    if os.fork() == 0:
        signal.pause()


def remember_threads(value: int) -> None:
    """Threads use up process numbers, and the next query can read its own."""
    for _ in range(value):
        threading.Thread(target=time.sleep, args=(0,)).start()


def remember_output_tail(value: int) -> None:
    output = _windows()._output
    output[-8:] = value.to_bytes(8, "little")


def recall_output_tail() -> int:
    return int.from_bytes(_windows()._output[-8:], "little")


def recall_input_tail() -> int:
    return int.from_bytes(_windows()._input[-8:], "little")


def remember_input_tail(value: int) -> None:
    _windows()._input[-8:] = value.to_bytes(8, "little")


def remember_page_cache(value: int) -> None:
    """Read a page that nobody reads, and look later with mincore whether it is in memory."""
    memory, size = _mapped_file()
    _ = memory[size - 1]


def recall_page_cache() -> int:
    memory, size = _mapped_file()
    seen = (ctypes.c_ubyte * (size // 4096 + 1))()
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), seen) != 0:
        raise OSError("refused")
    return int(seen[size // 4096 - 1] & 1)


def _mapped_file() -> tuple[mmap.mmap, int]:
    with open("/code/common/sandboxed/wire.py", "rb") as file:
        size = os.fstat(file.fileno()).st_size
        return mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE), size


def remember_freed_blocks(value: int) -> None:
    """Leave a pattern in memory that is given back."""
    libc = _allocator()
    blocks = [libc.malloc(_BLOCK_BYTES) for _ in range(_BLOCKS)]
    for block in blocks:
        ctypes.memset(block, value, _BLOCK_BYTES)
    for block in blocks:
        libc.free(block)


def recall_freed_blocks() -> int:
    libc = _allocator()
    blocks = [libc.malloc(_BLOCK_BYTES) for _ in range(_BLOCKS)]
    seen = [ctypes.string_at(block, _BLOCK_BYTES)[64:] for block in blocks]
    for block in blocks:
        libc.free(block)
    pattern = next((one[:1] for one in seen if one[0] and one == one[:1] * len(one)), b"\0")
    return pattern[0]


_BLOCK_BYTES, _BLOCKS = 4000, 64


def _allocator() -> Any:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = (ctypes.c_size_t,)
    libc.free.argtypes = (ctypes.c_void_p,)
    return libc


_OF_THREAD = threading.local()


def remember_thread_local(value: int) -> None:
    _OF_THREAD.note = value


def recall_thread_local() -> int:
    return int(getattr(_OF_THREAD, "note", 0))


def remember_module(value: int) -> None:
    sys.modules[NOTE] = value


def recall_module() -> int:
    return int(sys.modules.get(NOTE, 0))


def remember_abstract_socket(value: int) -> None:
    builtins.__dict__[f"{NOTE}-socket"] = held = socket.socket(socket.AF_UNIX)
    held.bind(f"\0{NOTE}")


def recall_abstract_socket() -> int:
    with socket.socket(socket.AF_UNIX) as one:
        try:
            one.bind(f"\0{NOTE}")
        except OSError as refused:
            return int(refused.errno == errno.EADDRINUSE)
    return 0


def remember_key(value: int) -> None:
    """A key in the user's keyring (KEY_SPEC_USER_KEYRING)."""
    if ctypes.CDLL(None).syscall(248, b"user", NOTE.encode(), b"x", 1, -4) < 0:
        raise OSError("refused")


def recall_key() -> int:
    libc = ctypes.CDLL(None)
    found = libc.syscall(250, 10, -4, b"user", NOTE.encode(), 0)
    if found > 0:
        libc.syscall(250, 3, found)
    return int(found > 0)


def remember_process_name(value: int) -> None:
    ctypes.CDLL(None).prctl(15, str(value).encode(), 0, 0, 0)


def recall_process_name() -> int:
    name = ctypes.create_string_buffer(16)
    ctypes.CDLL(None).prctl(16, name, 0, 0, 0)
    return int(name.value) if name.value.isdigit() else 0


def remember_umask(value: int) -> None:
    os.umask(0o177)


def recall_umask() -> int:
    found = os.umask(0o022)
    return int(found == 0o177)


def remember_output_head(value: int) -> None:
    _windows()._output[64:72] = value.to_bytes(8, "little")


def recall_output_head() -> int:
    return int.from_bytes(_windows()._output[64:72], "little")


_NAMES = (
    "global", "environment", "file", "shared_memory", "descriptor_flags", "lock", "parent_limit", "affinity",
    "output_head", "output_tail", "input_tail", "page_cache", "freed_blocks", "thread_local", "module",
    "abstract_socket", "key", "process_name", "umask",
)  # fmt: skip

TRICKS: dict[str, tuple[Callable[[int], None], Callable[[], int]]] = {
    f"remember_{name}": (globals()[f"remember_{name}"], globals()[f"recall_{name}"]) for name in _NAMES
}
NUMBERED: tuple[Callable[[int], None], ...] = (remember_threads, remember_process)
"""Not read back by a trick: whoever comes next sees its own process number move."""

_ERRORS = (OSError, RuntimeError, ValueError, TypeError)


def remember_all(value: int) -> None:
    for trick in (*(one for one, _ in TRICKS.values()), *NUMBERED):
        try:
            trick(value)
        except _ERRORS:
            continue


def recall_all() -> list[int]:
    found = []
    for _, trick in TRICKS.values():
        try:
            found.append(trick())
        except _ERRORS:
            found.append(0)
    return found
