"""The system calls that stay open in a sandbox, each group with its reason (side: enclave).

Everything that is not listed fails with EPERM, above all: sockets of every family, io_uring, shared memory and message
queues of System V and POSIX, ptrace and process_vm_*, userfaultfd, bpf, keys, perf events, mount, unshare and setns,
namespaced clones, pidfd_*, mincore, fanotify and inotify, chmod, utimes, extended attributes, memfd_create, getrandom
(/dev/urandom is a file of the enclave's numbers: tree). clone3 fails with ENOSYS, so that glibc falls back to clone,
whose flags a filter can read (clone3 has them behind a pointer).

A graph is computed by trusted code alone, with OpenVINO among it, which wants threads: in its sandbox the inner filter
allows them too, and nothing else that a query's does not.

Where a GPU is ordered, two more kinds of filter let through what its driver's library asks for (`GPU`), and ioctl with
the driver's requests; of any other sandbox the filters know nothing of it. A filter can't see whose file an ioctl is
for: of devices the tree has no others.

Two filters, both compiled here with libseccomp:
  *outer*, installed by bubblewrap before it executes Python: what start-up needs on top (execve, the inner filter);
  *inner*, installed by our own code before the provider's is imported (common/sandboxed/lockdown): what is left.
An inner filter may also *tell*: it raises SIGSYS where the plain one fails with EPERM (common/sandboxed/trapping).
Not closed by them: time (the vDSO), CPU caches, and code in writable memory.
"""

import errno
import functools
import mmap
import os
from enum import StrEnum
from typing import Any, Final

from common.errors import ConfinementError

MEMORY: Final = ("brk", "munmap", "mremap", "mprotect", "madvise", "msync")
"""Allocation. mmap is listed apart; pages both writable and executable stay possible, oneDNN compiles its kernels."""

READING: Final = (
    "open", "openat", "read", "pread64", "readv", "lseek", "stat", "lstat", "fstat", "newfstatat", "statx", "access",
    "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "close", "dup", "dup2", "dup3", "getcwd",
    "statfs", "fstatfs",
)  # fmt: skip
"""Files of the tree, which is read-only and holds Python, torch, our code and the bundle. There is no /proc."""

WRITING: Final = ("write", "writev", "pwrite64")
"""stdout and stderr are /dev/null, and the completion pipe's bytes have no meaning."""

SCRATCH: Final = (
    "ftruncate", "fsync", "fdatasync", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "rename", "renameat",
    "renameat2", "umask",
)  # fmt: skip
"""Temporary files of a training sandbox, on a tmpfs of bounded size and number. A query sandbox has none."""

TIME: Final = (
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times", "getrusage",
)  # fmt: skip
"""Clocks: mostly read through the vDSO anyway, where no filter sees them."""

THREADS: Final = (
    "futex", "sched_yield", "sched_getaffinity", "rseq", "set_robust_list", "set_tid_address", "membarrier", "poll",
    "ppoll", "restart_syscall",
)  # fmt: skip
"""Locks, and waiting. Setting another task's affinity or priority would be a note to the next query."""

IDENTITY: Final = (
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getpgrp", "getpgid", "getsid",
    "getgroups", "uname", "getcpu", "getrlimit", "arch_prctl",
)  # fmt: skip
"""Who am I: constants inside the namespaces. arch_prctl sets a thread's base register."""

SIGNALS: Final = ("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack")
"""Handling own faults. Sending is not listed: abort() then ends by its trap instruction."""

ENDING: Final = ("exit", "exit_group")
LANDLOCK: Final = (444, 445, 446)
"""landlock_create_ruleset, _add_rule, _restrict_self: by number, since libseccomp 2.5.1 has no names for them."""

STARTUP: Final = ("execve", "seccomp", "wait4", "kill", "rt_sigtimedwait", "setrlimit", *LANDLOCK)
"""Outer filter only: bubblewrap executes Python and reaps; our code adds the inner walls; the zygote ends a query."""

GPU: Final = ("eventfd2", "pipe2")
"""Libraries of CUDA wake their own threads by them."""

GPU_STARTUP: Final = ("bind", "listen")
"""Outer filter only, with `socket` of the family unix: a context has a socket under a name of the sandbox's own network
namespace, where nobody else is. Nothing connects to it, and its absence fails the context."""

COMMON: Final = MEMORY + READING + WRITING + TIME + THREADS + IDENTITY + SIGNALS + ENDING

# linux/sched.h, linux/fcntl.h, linux/prctl.h, asm-generic/ioctls.h
_CLONE_THREAD: Final = 0x0001_0000
_STARTING: Final = ("fork", "vfork")  # and clone, of what is no thread
_CLONE_NAMESPACES: Final = 0x7E02_0080
_FCNTL_COMMANDS: Final = (0, 1, 2, 3, 4, 1030)  # DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC: no locks, no owners
_IOCTL_REQUESTS: Final = (0x5401, 0x5450, 0x5451)  # TCGETS, FIONCLEX, FIOCLEX: isatty() and close-on-exec of Python
_NVIDIA_TYPE: Final = (0xFF00, 0x4600)
"""Mask and value of requests to /dev/nvidiactl and /dev/nvidia0: type 'F' (nv-ioctl-numbers.h, NV_IOCTL_MAGIC)."""

_UVM_PLAIN: Final = (0xFFFF_FF80, 0)
_UVM_INITIALIZE: Final = 0x3000_0001
"""To /dev/nvidia-uvm: plain numbers below 128, and the one that begins (uvm_ioctl.h, uvm_linux_ioctl.h). Source of
both: https://github.com/NVIDIA/open-gpu-kernel-modules"""

_AF_UNIX: Final = 1

_PRCTL_OPTIONS: Final = (15, 16, 0x53564D41)  # SET_NAME, GET_NAME, SET_VMA: names of threads and mappings
_PR_SET_DUMPABLE: Final = 4
_MAP_GROWSDOWN: Final = 0x100  # linux/mman.h
_GPU_MEMORY: Final = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
"""What a context shares with its GPU. With a GPU no limit counts all memory anyway: pinned memory is the driver's."""

_UNCOUNTED: Final = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _MAP_GROWSDOWN


class FilterKind(StrEnum):
    """Who is to be filtered."""

    OUTER = "outer"
    TRAINING = "training"
    QUERY = "query"
    GRAPH = "graph"
    GPU_OUTER = "gpu-outer"
    GPU_TRAINING = "gpu-training"


_OUTER: Final = frozenset({FilterKind.OUTER, FilterKind.GPU_OUTER})
_WITH_GPU: Final = frozenset({FilterKind.GPU_OUTER, FilterKind.GPU_TRAINING})


@functools.cache
def compile_filter(kind: FilterKind, *, tells: bool = False) -> bytes:
    """The BPF program. Raises `ConfinementError` (confinement.seccomp) without libseccomp.

    `tells`: an inner filter that traps what it refuses, but for the starting of processes.
    """
    try:
        import pyseccomp  # here, because it looks for libseccomp on import and raises without it
    except (ImportError, RuntimeError, OSError) as cause:
        raise ConfinementError("confinement.seccomp") from cause
    refusing = pyseccomp.ERRNO(errno.EPERM)
    made = pyseccomp.SyscallFilter(defaction=pyseccomp.TRAP if tells else refusing)
    made.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    made.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for name in calls_of(kind):
        made.add_rule(pyseccomp.ALLOW, name)
    _add_argument_rules(made, pyseccomp, kind)
    _add_process_rules(made, pyseccomp, kind)
    if tells:
        made.add_rule(refusing, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0))
        for name in _STARTING:
            made.add_rule(refusing, name)
    with os.fdopen(os.memfd_create("filter"), "w+b") as file:
        made.export_bpf(file)
        file.seek(0)
        return file.read()


def calls_of(kind: FilterKind) -> tuple[str | int, ...]:
    """What is open whatever its arguments are."""
    calls: tuple[str | int, ...] = COMMON + (() if kind in {FilterKind.QUERY, FilterKind.GRAPH} else SCRATCH)
    calls += STARTUP if kind in _OUTER else ()
    calls += GPU if kind in _WITH_GPU else ()
    return calls + (GPU_STARTUP if kind is FilterKind.GPU_OUTER else ())


def _add_argument_rules(made: Any, library: Any, kind: FilterKind) -> None:
    for name, position, values in (
        ("fcntl", 1, _FCNTL_COMMANDS),
        ("ioctl", 1, _IOCTL_REQUESTS),
        ("prctl", 0, _PRCTL_OPTIONS),
        ("prlimit64", 0, (0,)),  # this process only: another's limits would be a note to the next query
    ):
        for value in values:
            made.add_rule(library.ALLOW, name, library.Arg(position, library.EQ, value))
    if kind in _WITH_GPU:
        for mask, value in (_NVIDIA_TYPE, _UVM_PLAIN):
            made.add_rule(library.ALLOW, "ioctl", library.Arg(1, library.MASKED_EQ, mask, value))
        made.add_rule(library.ALLOW, "ioctl", library.Arg(1, library.EQ, _UVM_INITIALIZE))
    if kind is FilterKind.GPU_OUTER:
        made.add_rule(library.ALLOW, "socket", library.Arg(0, library.EQ, _AF_UNIX))
    if kind in _OUTER:
        made.add_rule(library.ALLOW, "prctl", library.Arg(0, library.EQ, _PR_SET_DUMPABLE))
    counted = (0, mmap.MAP_SHARED, mmap.MAP_ANONYMOUS)  # RLIMIT_DATA counts neither shared memory nor stacks
    for flags in (*counted, _GPU_MEMORY) if kind in _WITH_GPU else counted:
        made.add_rule(library.ALLOW, "mmap", library.Arg(3, library.MASKED_EQ, _UNCOUNTED, flags))


def _add_process_rules(made: Any, library: Any, kind: FilterKind) -> None:
    """Outer: processes (the zygote's fork) and threads; training, graph: threads; query: neither."""
    if kind is FilterKind.QUERY:
        return
    mask, wanted = (_CLONE_NAMESPACES, 0) if kind in _OUTER else (_CLONE_NAMESPACES | _CLONE_THREAD, _CLONE_THREAD)
    made.add_rule(library.ALLOW, "clone", library.Arg(0, library.MASKED_EQ, mask, wanted))
