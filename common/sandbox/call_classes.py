"""Which system call is of which class, where refused calls are counted (side: enclave).

Only calls that a filter refuses are ever counted, so what it lets through is not listed. Calls that are in no list are
"other": so is what libraries try at start and do without (getrandom, sysinfo, affinity).
"""

import functools
from collections.abc import Mapping
from typing import Any, Final

from common.errors import ConfinementError
from common.refused_calls import CLASSES, CallClass

_CALLS: Final[Mapping[CallClass, tuple[str, ...]]] = {
    "network": (
        "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "recvfrom", "sendmsg",
        "recvmsg", "sendmmsg", "recvmmsg", "getsockname", "getpeername", "setsockopt", "getsockopt", "shutdown",
        "sendfile", "io_uring_setup", "io_uring_enter", "io_uring_register",
    ),
    "files": (
        "creat", "truncate", "ftruncate", "fallocate", "link", "linkat", "symlink", "symlinkat", "mknod", "mknodat",
        "chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat",
        "futimesat", "setxattr", "lsetxattr", "fsetxattr", "getxattr", "lgetxattr", "fgetxattr", "listxattr",
        "removexattr", "lremovexattr", "fremovexattr", "flock", "fcntl", "chdir", "fchdir", "openat2",
        "name_to_handle_at", "open_by_handle_at", "inotify_init", "inotify_init1", "inotify_add_watch",
        "fanotify_init", "fanotify_mark", "sync", "syncfs", "sync_file_range", "copy_file_range", "splice", "tee",
        "vmsplice", "fsync", "fdatasync", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "rename", "renameat",
        "renameat2", "umask", "ioctl",
    ),
    "processes": (
        "clone", "clone3", "fork", "vfork", "execve", "execveat", "kill", "tkill", "tgkill", "wait4", "waitid",
        "rt_sigqueueinfo", "rt_tgsigqueueinfo", "rt_sigtimedwait", "pidfd_open", "pidfd_send_signal", "setsid",
        "setpgid", "pipe", "pipe2", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
        "setfsuid", "setfsgid", "capset", "prlimit64", "setrlimit", "setpriority", "sched_setscheduler",
        "sched_setparam", "sched_setattr",
    ),
    "namespaces": (
        "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen",
        "fsconfig", "fsmount", "fspick", "mount_setattr", "sethostname", "setdomainname", "quotactl",
    ),
    "tracing": (
        "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd", "bpf",
        "perf_event_open", "userfaultfd", "add_key", "request_key", "keyctl", "init_module", "finit_module",
        "delete_module", "kexec_load", "kexec_file_load", "reboot", "syslog", "seccomp", "prctl", "personality",
        "iopl", "ioperm", "modify_ldt", "swapon", "swapoff", "acct", "settimeofday", "clock_settime", "adjtimex",
        "clock_adjtime",
    ),
    "memory": (
        "mmap", "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "shmdt", "semget", "semop", "semctl",
        "semtimedop", "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mlock", "mlock2", "mlockall",
        "mincore", "mbind", "set_mempolicy", "get_mempolicy", "migrate_pages", "move_pages", "remap_file_pages",
        "pkey_alloc", "pkey_mprotect",
    ),
}  # fmt: skip


@functools.cache
def call_classes() -> tuple[tuple[int, ...], ...]:
    """The numbers of each class's calls on this machine, in the order of `CLASSES`; of "other" none is listed.

    Raises `ConfinementError` (confinement.seccomp) without libseccomp.
    """
    try:
        import pyseccomp  # here, because it looks for libseccomp on import and raises without it
    except (ImportError, RuntimeError, OSError) as cause:
        raise ConfinementError("confinement.seccomp") from cause

    def numbers(names: tuple[str, ...]) -> tuple[int, ...]:
        found = [_number(pyseccomp, name) for name in names]
        return tuple(number for number in found if number is not None)

    return tuple(numbers(_CALLS.get(name, ())) for name in CLASSES)


def _number(library: Any, name: str) -> int | None:
    """None for a call that this machine, or its libseccomp, does not know."""
    number = int(library.resolve_syscall(library.Arch.NATIVE, name))
    return number if number >= 0 else None
