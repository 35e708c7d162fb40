"""The child's last steps before provider code: limits, Landlock, then the second system call filter (side: sandbox).

bubblewrap has set namespaces, capabilities and the outer filter before. The inner filter, compiled by the enclave, is
tighter: no new process, no new program, no signals, no further filter. A filter can only be added to, never taken off,
and both limits and filter are inherited, so their order against provider code is all that matters.
"""

import ctypes
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.sandboxed.landlock import restrict_files
from common.sandboxed.wire import CUDA, INNER_FILTER_FILE, Configuration

OPEN_FILES: Final = 256
CUDA_OPEN_FILES: Final = 1024
"""The driver's library opens a device node anew for each mapping of it."""

STACK_BYTES: Final = 8 << 20
"""Of the first thread. RLIMIT_DATA does not count it, and its usual hard limit is none."""

ADDRESS_BYTES: Final = 16 << 30
"""Beyond RLIMIT_DATA: mappings of libraries, of reserved and of read-only memory. A backstop: torch maps under 2.

CUDA reserves gigabytes of addresses, and maps the GPU's memory at others, so with a GPU there is no such limit.
"""

_SYS_SECCOMP: Final = {"x86_64": 317, "aarch64": 277}
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_PR_SET_DUMPABLE: Final = 4
_INSTRUCTION_BYTES: Final = 8  # struct sock_filter, linux/filter.h


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def set_limits(configuration: Configuration) -> None:
    """Bound what this process may use up. With one process, its limits are the sandbox's."""
    cuda = configuration.device == CUDA
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_STACK, STACK_BYTES),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NOFILE, CUDA_OPEN_FILES if cuda else OPEN_FILES),
        (resource.RLIMIT_FSIZE, configuration.file_bytes),
        (resource.RLIMIT_NPROC, configuration.threads),
        (resource.RLIMIT_CPU, configuration.cpu_seconds),
        (resource.RLIMIT_DATA, configuration.memory_bytes),
        (resource.RLIMIT_AS, resource.RLIM_INFINITY if cuda else configuration.memory_bytes + ADDRESS_BYTES),
    ):
        _, hard = resource.getrlimit(kind)
        known = [one for one in (value, hard) if one != resource.RLIM_INFINITY]
        bound = min(known, default=resource.RLIM_INFINITY)
        resource.setrlimit(kind, (bound, bound))


def forbid_core_dumps() -> None:
    """Make the process undumpable: a host's core handler would get its memory.

    RLIMIT_CORE is not enough, since it does not hold for a handler behind a pipe (core(5)). The inner filter keeps
    provider code from undoing it. Raises `OSError`.
    """
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "core dumps were not forbidden")


def confine(
    configuration: Configuration, inner_filter: bytes, *, scratch: bool, before_filter: Callable[[], None] | None = None
) -> None:
    """All of it, in order. Raises `OSError`; then nothing of the provider may run.

    `before_filter`: trusted work that needs more calls than provider code is left, and that Landlock holds for already.
    """
    set_limits(configuration)
    forbid_core_dumps()
    restrict_files(scratch=scratch, devices=device_nodes() if configuration.device == CUDA else ())
    if before_filter is not None:
        before_filter()
    install_filter(inner_filter)


def device_nodes() -> list[str]:
    """A GPU's nodes: of its driver nothing else is in the tree."""
    return sorted(map(str, Path("/dev").glob("nvidia*")))


def read_inner_filter() -> bytes:
    """The compiled inner filter that the enclave put into the tree."""
    return Path(INNER_FILTER_FILE).read_bytes()


def install_filter(program: bytes) -> None:
    """Add the filter to every thread of this process. Raises `OSError`; then nothing of the provider may run."""
    library = ctypes.CDLL(None, use_errno=True)
    described = _FilterProgram(len(program) // _INSTRUCTION_BYTES, program)
    number = _SYS_SECCOMP[os.uname().machine]
    if library.syscall(number, _SECCOMP_SET_MODE_FILTER, _SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(described)) != 0:
        raise OSError(ctypes.get_errno(), "the inner filter was not installed")
