"""What the processes of a job use up, read from /proc as the machine's owner can read it (side: host)."""

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Final

SAMPLE_SECONDS: Final = 0.05
"""Between two looks."""

_PROCESS_CLOCK: Final = 2
"""CPUCLOCK_SCHED (linux/posix-timers.h): nanoseconds that all threads of a process spent on a CPU."""


def process_usage(pid: int) -> dict[str, float]:
    """What a process used so far. Raises `OSError` when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    return {
        "cpu_ms": time.clock_gettime_ns((~pid << 3) | _PROCESS_CLOCK) / 1e6,
        "resident_mb": resident / (1 << 20),
        "minor_faults": float(fields[7]),
        "major_faults": float(fields[9]),
    }


def children_of(pid: int) -> set[int]:
    """Of all its threads."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found |= {int(one) for one in (task / "children").read_text().split()}
    return found


def innermost(pid: int) -> set[int]:
    """Descendants that have no children of their own."""
    children = children_of(pid)
    return set().union(*map(innermost, children)) if children else {pid}


def _named(zygotes: set[int], name: str) -> int | None:
    """The child of one of them whose process has this name."""
    for pid in set().union(*map(children_of, zygotes)):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                return pid
    return None


class UsageWatch:
    """Looks at processes once in a while; `used` has the last look at each, and the largest memory.

    `sandbox` is the name of the process, a child of one of `zygotes`, that is to be looked at once it is there.
    """

    def __init__(self, pids: dict[str, int], zygotes: set[int], sandbox: str) -> None:
        self._pids, self._zygotes, self._sandbox = dict(pids), zygotes, sandbox
        self.used: dict[str, dict[str, float]] = {}
        self.sandbox_cpu: list[float] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage", daemon=True)
        self._thread.start()

    def look(self, who: str) -> bool:
        """At one of them now; whether it is there."""
        with contextlib.suppress(OSError, IndexError, KeyError):
            seen, before = process_usage(self._pids[who]), self.used.get(who, {})
            seen["resident_mb"] = max(seen["resident_mb"], before.get("resident_mb", 0.0))
            self.used[who] = seen
            return True
        return False

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            if "sandbox" not in self._pids and (pid := _named(self._zygotes, self._sandbox)) is not None:
                self._pids["sandbox"] = pid
            if not self.look("sandbox"):
                process_usage(os.getpid())  # else the host would have less to do, and be sooner, once it has ended
            self.sandbox_cpu.append(self.used.get("sandbox", {}).get("cpu_ms", 0.0))
