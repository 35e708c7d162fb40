# mypy: ignore-errors
# ruff: noqa: PTH123, PTH208, S606
"""What hostile provider code tries: each attempt returns when it succeeded and raises `OSError` when it was refused.

Side: sandbox.  Plain Python, so that the same attempts can be run outside a sandbox, where they must succeed.
"""

import ctypes
import json
import mmap
import os
import platform
import socket
import sys
import tempfile
import threading
from collections.abc import Callable

REFUSED, SUCCEEDED, BROKEN = 0.0, 1.0, 2.0

libc = ctypes.CDLL(None, use_errno=True)

SYSCALLS = {
    "shmget": (29, 0, 4096, 0o1600),
    "ptrace": (101, 0, 0, 0, 0),
    "mount": (165, b"none", b"/", 0, 4096, 0),
    "keyctl": (250, 0, -3, 1),
    "inotify_init": (253,),
    "unshare_user": (272, 0x1000_0000),
    "userfaultfd": (323, 1),
    "perf_event_open": (298, 0, 0, -1, -1, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "setns": (308, 0, 0),
    "memfd_create": (319, b"x", 0),
    "bpf": (321, 0, 0, 0),
    "io_uring_setup": (425, 4, bytes(200)),
    "pidfd_open": (434, 1, 0),
    "mq_open": (240, b"x", 0o102, 0o600, 0),
    "msgget": (68, 0, 0o1600),
    "seccomp_again": (317, 0, 0, 0),
    "clone3": (435, bytes(88), 88),
    "splice": (275, 0, 0, 0, 0, 0, 0),
    "modify_ldt": (154, 0, 0, 0),
}
"""Numbers of x86_64 (arch/x86/entry/syscalls/syscall_64.tbl), with arguments that do no harm if let through."""


def raw(*arguments: object) -> None:
    if libc.syscall(*arguments) < 0:
        number = ctypes.get_errno()
        if number not in (1, 38):  # EPERM and ENOSYS are the filter's; other errors came from the call itself
            return
        raise OSError(number, os.strerror(number))


def connect(family: int, kind: int) -> None:
    socket.socket(family, kind).close()


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def execute() -> None:
    os.execve("/nonexistent", ["x"], {})


def read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def write(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def write_temporary() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")


def shared_anonymous() -> None:
    mmap.mmap(-1, 4096).close()


def thread() -> None:
    try:
        started = threading.Thread(target=int)
        started.start()
    except RuntimeError as cause:
        raise OSError(1, "no thread") from cause
    started.join()


def touch() -> None:
    os.utime(os.devnull)


def affinity() -> None:
    os.sched_setaffinity(0, os.sched_getaffinity(0))


def priority_of_parent() -> None:
    os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))


def signal_self() -> None:
    os.kill(os.getpid(), 0)


def _window_fd(name: str) -> int:
    with open("/configuration.json") as file:
        return int(json.load(file)[name])


def map_window_writable() -> None:
    mmap.mmap(_window_fd("input_fd"), 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE).close()


def write_window() -> None:
    os.pwrite(_window_fd("input_fd"), b"x", 0)


def truncate_output() -> None:
    os.ftruncate(_window_fd("output_fd"), 0)


def make_window_writable() -> None:
    frame = sys._getframe()
    while "windows" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    rows = frame.f_locals["windows"].rows(1)
    address = next(iter(rows.values())).ctypes.data & ~4095
    if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(4096), 3) != 0:
        raise OSError(ctypes.get_errno(), "refused")


ATTEMPTS: dict[str, Callable[[], None]] = {
    "clock": lambda: os.times() and None,  # allowed: shows that an attempt can succeed
    "tcp": lambda: connect(socket.AF_INET, socket.SOCK_STREAM),
    "udp": lambda: connect(socket.AF_INET, socket.SOCK_DGRAM),
    "unix": lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM),
    "netlink": lambda: connect(socket.AF_NETLINK, socket.SOCK_RAW),
    "vsock": lambda: connect(40, socket.SOCK_STREAM),
    "socketpair": lambda: [one.close() for one in socket.socketpair()] and None,
    "passwd": lambda: read("/etc/passwd"),
    "own_environment": lambda: read("/proc/self/environ"),
    "processes": lambda: os.listdir("/proc/1") and None,
    "home": lambda: os.listdir("/root" if os.getuid() == 0 else "/home") and None,
    "write_root": lambda: write("/x"),
    "write_bundle": lambda: write("/bundle/escapes.py"),
    "write_shm": lambda: write("/dev/shm/x"),
    "temporary": write_temporary,
    "fork": fork,
    "execute": execute,
    "thread": thread,
    "signal_self": signal_self,
    "touch": touch,
    "affinity": affinity,
    "priority_of_parent": priority_of_parent,
    "shared_anonymous": shared_anonymous,
    "map_window_writable": map_window_writable,
    "write_window": write_window,
    "truncate_output": truncate_output,
    "make_window_writable": make_window_writable,
}
if platform.machine() == "x86_64":
    ATTEMPTS |= {name: (lambda call=call: raw(*call)) for name, call in SYSCALLS.items()}


def attempt(name: str) -> float:
    try:
        ATTEMPTS[name]()
    except OSError:
        return REFUSED
    except BaseException:
        return BROKEN
    return SUCCEEDED


def attempt_all() -> list[float]:
    return [attempt(name) for name in ATTEMPTS]
