"""What a sandbox refuses, in words: what to do instead (side: owner)."""

from typing import Final

NETWORK: Final = "there is no network: put what the code needs into its directory, as a file"
PROCESSES: Final = "no process can be started: do it in this one (`num_workers=0`, no `subprocess`, no `torch.compile`)"
SIGNALS: Final = "nothing can be signalled or waited for: there is one process"
SHARED: Final = "no memory can be shared: there is one process"
FILES: Final = "files can't be changed so: write temporary ones, while training, into `tempfile.gettempdir()`"
TUNING: Final = "priorities, processors and limits are set by the job: leave them as they are"
OTHERS: Final = "the sandbox does without it (docs/providers.md): leave it out"

_ADVICE: Final = {
    NETWORK: (
        "socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "recvfrom", "sendmsg",
        "recvmsg", "getsockname", "setsockopt", "shutdown", "epoll_create1", "eventfd2", "io_uring_setup",
    ),
    PROCESSES: ("pipe", "pipe2", "clone", "fork", "vfork", "execve", "execveat", "unshare", "setns", "setsid"),
    SIGNALS: ("kill", "tkill", "tgkill", "wait4", "waitid", "rt_sigtimedwait", "rt_sigqueueinfo", "pidfd_open"),
    SHARED: ("shmget", "shmat", "memfd_create", "mmap", "semget", "msgget", "mq_open"),
    FILES: (
        "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown", "utimensat", "link", "linkat",
        "symlink", "symlinkat", "mknod", "mknodat", "ftruncate", "fsync", "unlink", "unlinkat", "mkdir", "mkdirat",
        "rmdir", "rename", "setxattr", "truncate", "mount", "flock", "fallocate",
    ),
    TUNING: (
        "sched_setaffinity", "sched_setscheduler", "setpriority", "prlimit64", "setrlimit", "set_mempolicy", "mbind",
        "nice", "mlock", "mlockall",
    ),
}  # fmt: skip

PRINTED: Final = "in a job what is printed goes nowhere: return what matters as loss and answers"
MODULE: Final = "only torch, NumPy and Python's standard library are there: put pure Python modules into the directory"


def call_name(number: int) -> str:
    """The system call's name on this machine."""
    import pyseccomp  # here, because it looks for libseccomp on import and raises without it

    name = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, number)
    return name.decode() if isinstance(name, bytes) else str(name)


def instead_of(call: str) -> str:
    """What to do instead of a call that is refused."""
    return next((words for words, calls in _ADVICE.items() if call in calls), OTHERS)


def instead_of_file(path: str, *, writes: bool) -> str:
    """What to do instead of a file that is not there or can't be written."""
    if writes:
        return FILES
    return f"the sandbox has no {path}: put the file into the provider's directory, and open it beside `__file__`"
