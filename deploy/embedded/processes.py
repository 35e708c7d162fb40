"""Which processes are ours, and how none of them outlives us (side: host).

Two rules of Linux make it certain (prctl(2)): a process whose parent ended becomes the child of its nearest living
*subreaper* ancestor, so nothing that we started can leave our tree by forking twice or by a session of its own; and a
process may ask for a signal when its parent ends. So a subreaper that kills its children until it has none has killed
all of them.
"""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER: Final = 36
_libc: Final = ctypes.CDLL(None, use_errno=True)
_SWEEP_PAUSE_SECONDS: Final = 0.01


def become_subreaper() -> None:
    """Orphans below this process become its children."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(signum: signal.Signals) -> None:
    """Ask for `signum` when the parent ends. Call it in the child; `tie_to` also covers a parent that ended before."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signum.value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def tie_to(parent: int, signum: signal.Signals) -> Callable[[], None]:
    """What a child of `parent` calls between fork and exec: `signum` when `parent` ends, and no signal blocked."""

    def tie() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        die_with_parent(signum)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return tie


def children_of(pid: int, parents: dict[int, int] | None = None) -> list[int]:
    """Direct children, zombies included."""
    return [child for child, parent in (parents or parent_table()).items() if parent == pid]


def descendants_of(pid: int) -> list[int]:
    """Every process below `pid`, parents before children."""
    parents, found = parent_table(), [pid]
    for ancestor in found:
        found.extend(children_of(ancestor, parents))
    return found[1:]


def parent_table() -> dict[int, int]:
    """Parent of each process that runs now."""
    return {pid: int(words[1]) for pid, words in _stat_table().items()}


def start_times(pids: Iterable[int]) -> dict[int, int]:
    """When each of these processes started, in clock ticks since boot: with its number, it names one process for good.

    Processes that ended, zombies too, are left out.
    """
    table = _stat_table()
    return {pid: int(table[pid][19]) for pid in pids if pid in table and table[pid][0] not in "ZX"}


def command_line(pid: int) -> str:
    """Its words, cut after 300 bytes; nothing when it ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()[:300].replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _stat_table() -> dict[int, list[str]]:
    """Fields 3 and following of proc(5)'s stat. Field 2, the name in parentheses, may hold anything."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                table[int(entry.name)] = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
    return {pid: words for pid, words in table.items() if len(words) > 19}


def kill_descendants(seconds: float = 20.0) -> list[int]:
    """SIGKILL everything below this subreaper until nothing is left. Returns what did not die within `seconds`.

    Repeats because a process may fork between the look and the kill, and because orphans arrive one level at a time.
    """
    deadline = time.monotonic() + seconds
    while below := descendants_of(os.getpid()):
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        reap_orphans()
        if time.monotonic() > deadline:
            return descendants_of(os.getpid())
        time.sleep(_SWEEP_PAUSE_SECONDS)
    return []


def reap_orphans() -> None:
    """Collect every child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
