"""Time that waits for this process: how busy the machine is does not decide on which tick a test's work is done."""

import os
import threading
import time
from pathlib import Path
from typing import Final

QUANTUM_SECONDS: Final = 0.003
MOST_SECONDS: Final = 0.006
"""What one look at the threads stands for: the thread that looks may have waited for a core as well."""

BUSY_SHARE: Final = 0.05
"""How fast time passes while threads have something to compute. Not 0: one that waits in a loop would wait forever."""

UNREAD_SECONDS: Final = 1.0
"""Nobody reads the time any more: it stands still until somebody does."""

_TASKS: Final = Path("/proc/self/task")
_ACTIVE: Final = (b"R", b"D")
"""States of a thread that computes, waits for a core to do so, or for a disk (proc(5), `stat`)."""


class UnhurriedTime:
    """Monotonic seconds that pass as real ones do while all threads of this process sleep, and hardly otherwise.

    Sleeps take real time, so they end no later than they are to end by `now`.
    """

    def __init__(self) -> None:
        self._at = self._read_at = time.monotonic()
        self._lock = threading.Lock()
        self._passes = False

    def now(self) -> float:
        """Seconds, as `time.monotonic` gives them."""
        self._read_at = time.monotonic()
        if not self._passes:
            self._begin()
        return self._at

    def sleep(self, seconds: float) -> None:
        """Until as much has passed."""
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            time.sleep(left)

    def _begin(self) -> None:
        with self._lock:
            if not self._passes:
                self._passes = True
                threading.Thread(target=self._pass, name="unhurried-time", daemon=True).start()

    def _pass(self) -> None:
        own, before = str(threading.get_native_id()), time.monotonic()
        while before - self._read_at < UNREAD_SECONDS:
            time.sleep(QUANTUM_SECONDS)
            now = time.monotonic()
            passed, before = now - before, now
            share = BUSY_SHARE if _anything_runs(but=own) else 1.0
            self._at += share * min(passed, MOST_SECONDS)
        self._passes = False


UNHURRIED: Final = UnhurriedTime()
"""One for all: the thread of another one would count as something that computes."""


def _anything_runs(*, but: str) -> bool:
    return any(_state(task) in _ACTIVE for task in os.listdir(_TASKS) if task != but)  # noqa: PTH208 - a path each is dear


def _state(task: str) -> bytes:
    try:
        stat = Path(_TASKS, task, "stat").read_bytes()
    except OSError:  # it ended in between
        return b""
    name_end = stat.rindex(b")")
    return stat[name_end + 2 : name_end + 3]
