# mypy: ignore-errors
"""Other processes, and what this one may not be or become (side: sandbox)."""

import ctypes
import os
import resource
import threading

from attempting import libc, opened, raw

_PARENT = os.getppid()
FORKS = 40


def fork_bomb() -> None:
    """Bounded, for where it is let through."""
    for _ in range(FORKS):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def raw_fork(*call: object) -> None:
    pid = raw(*call)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def execute() -> None:
    os.execve("/nonexistent", ["x"], {})


def let_through(act) -> None:
    """An error of the call itself means that it was let through."""
    try:
        act()
    except (ProcessLookupError, FileNotFoundError, ChildProcessError):
        return


def thread() -> None:
    started = threading.Thread(target=int)
    try:
        started.start()
    except RuntimeError as cause:
        raise OSError(1, "no thread") from cause
    started.join()


def raise_limit() -> None:
    """More memory than was given: a hard limit does not rise."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY:
        return
    set_limit(resource.RLIMIT_DATA, hard + 1)


def allow_core() -> None:
    set_limit(resource.RLIMIT_CORE, 1)


def set_limit(kind: int, value: int) -> None:
    try:
        resource.setrlimit(kind, (value, value))
    except ValueError as cause:  # Python's word for EPERM
        raise OSError(1, "hard limits do not rise") from cause


def parent_limit() -> None:
    resource.prlimit(_PARENT, resource.RLIMIT_NOFILE)


def interval_timer() -> None:
    if libc.setitimer(1, bytes(32), 0) != 0:
        raise OSError(ctypes.get_errno(), "refused")


_SELF = os.getpid()

ATTEMPTS = {
    "fork_bomb": fork_bomb,
    "fork_raw": lambda: raw_fork(57),
    "fork_shared": lambda: raw_fork(56, 0x11, 0, 0, 0, 0),
    "clone3": lambda: raw(435, bytes(88), 88),
    "clone_new_user": lambda: raw_fork(56, 0x10000011, 0, 0, 0, 0),
    "execute": lambda: let_through(execute),
    "execute_descriptor": lambda: raw(322, -1, b"", 0, 0, 0x1000),
    "thread": thread,
    "signal_self": lambda: os.kill(_SELF, 0),
    "signal_parent": lambda: os.kill(os.getppid(), 0),
    "signal_group": lambda: os.kill(0, 0),
    "signal_all": lambda: os.kill(-1, 0),
    "signal_thread": lambda: raw(234, _SELF, _SELF, 0),
    "signal_queued": lambda: raw(129, os.getppid(), 0, bytes(128)),
    "handle_of_process": lambda: opened(434, _SELF, 0),
    "descriptor_of_process": lambda: raw(438, -1, 0, 0),
    "signal_by_handle": lambda: raw(424, -1, 0, 0, 0),
    "trace_me": lambda: raw(101, 2, -5, 0, 0),
    "trace_parent": lambda: raw(101, 0x4206, os.getppid(), 0, 0) and None,
    "read_memory": lambda: raw(310, os.getppid(), 0, 0, 0, 0, 0),
    "write_memory": lambda: raw(311, os.getppid(), 0, 0, 0, 0, 0),
    "advise_memory": lambda: raw(440, -1, 0, 0, 0, 0),
    "compare_processes": lambda: raw(312, _SELF, _SELF, 2, 0, 0),
    "wait_for_any": lambda: let_through(lambda: os.waitpid(-1, os.WNOHANG)),
    "enter_namespace": lambda: raw(308, -1, 0),
    "new_user_namespace": lambda: raw(272, 0x10000000),
    "new_network_namespace": lambda: raw(272, 0x40000000),
    "set_user": lambda: raw(117, -1, -1, -1),
    "set_groups": lambda: raw(116, 0, 0),
    "set_capabilities": lambda: raw(126, (0x20080522).to_bytes(4, "little") + bytes(4), bytes(24)),
    "new_session": lambda: raw(112),
    "new_group": lambda: raw(109, 0, 0),
    "become_dumpable": lambda: raw(157, 4, 1, 0, 0, 0),
    "allow_tracer": lambda: raw(157, 0x59616D61, -1, 0, 0, 0),
    "outlive_parent": lambda: raw(157, 1, 0, 0, 0, 0),
    "adopt_orphans": lambda: raw(157, 36, 1, 0, 0, 0),
    "drop_filter": lambda: raw(157, 22, 0, 0, 0, 0),
    "add_filter": lambda: raw(317, 1, 0, 0),
    "personality": lambda: raw(135, 0xFFFFFFFF),
    "affinity": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "scheduler": lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
    "priority_of_parent": lambda: raw(141, 0, os.getppid(), 0),
    "disk_priority": lambda: raw(251, 1, 0, 0),
    "limit_of_parent": parent_limit,
    "raise_own_limit": raise_limit,
    "allow_core_dump": allow_core,
    "alarm": lambda: raw(37, 0),
    "interval_timer": interval_timer,
    "timer_create": lambda: raw(222, 0, 0, 0),
    "timer_descriptor": lambda: opened(283, 1, 0),
    "signal_descriptor": lambda: opened(289, -1, bytes(8), 8, 0),
    "event_descriptor": lambda: opened(290, 0, 0),
    "poll_descriptor": lambda: opened(291, 0),
    "new_pipe": lambda: [os.close(fd) for fd in os.pipe()],
}
