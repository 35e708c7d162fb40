"""When answers leave: at times that say little of how long they took (side: enclave).

An answer leaves at the next multiple of the quantum after its query arrived. Where trusted code computes a graph, the
first quantum is divided into finer ones: its cost is fixed but for what a processor makes of single numbers, so most
answers come in the first of them, and in all there are no more times than common/leakage charges for. Where the
model's order wants it and trusted code computes, an answer leaves when it is ready (ARCHITECTURE, decision 45).
"""

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.messages.query import QueryProfile

QUANTUM_SECONDS: Final = 0.1
"""A digits-sized model takes 40 to 90 ms in its sandbox on two busy cores, so that it answers in the first quantum."""

GRAPH_QUANTUM_SECONDS: Final = 0.01
"""The finer quantum of graphs: a tenth, so that with the coarser ones up to the deadline there are 59 times to leave
at, of the 64 that `common.leakage.RELEASE_TICKS` charges for."""

DEADLINE_SECONDS: Final = 5.0
"""What one evaluation may take; the sandbox ends it then."""


def _wait(due: threading.Condition, seconds: float) -> None:
    due.wait(seconds)


@dataclass(frozen=True)
class Timing:
    """The clock by which answers leave; `monotonic` and `wait` (for a condition, so long) are the machine's, or a
    test's. `first_quantum_seconds`: of answers that leave within the first `quantum_seconds`; both 0: they leave when
    they are ready.
    """

    quantum_seconds: float = QUANTUM_SECONDS
    first_quantum_seconds: float = QUANTUM_SECONDS
    deadline_seconds: float = DEADLINE_SECONDS
    monotonic: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Condition, float], object] = _wait

    @classmethod
    def of(cls, profile: QueryProfile) -> "Timing":
        """Of one model's answers: coarse, whatever its order says, where provider code gives them."""
        if profile.answered_by == "code":
            return cls()
        return cls(0.0, 0.0) if profile.answer_timing == "immediate" else cls.of_graph()

    @classmethod
    def of_graph(cls) -> "Timing":
        """Of answers that trusted code computes, padded."""
        return cls(first_quantum_seconds=GRAPH_QUANTUM_SECONDS)

    def leaves_after(self, passed: float) -> float:
        """Seconds after its query's arrival at which an answer leaves that is ready after `passed` ones."""
        if not self.quantum_seconds:
            return passed
        first = self.first_quantum_seconds
        step = first if math.ceil(passed / first) * first <= self.quantum_seconds else self.quantum_seconds
        return max(1, math.ceil(passed / step)) * step


class Departures:
    """Sends what is ready when its time has come, all on one thread, which lives from the first one to `close`."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._due = threading.Condition()
        self._waiting: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def leave(self, arrival: float, send: Callable[[], None]) -> None:
        """Call `send`, which raises nothing, at the next time to leave after the `arrival` of what it answers.

        Where that is when it is ready, whoever made it ready sends it: another thread would have to be woken.
        """
        if not self._timing.quantum_seconds and not self._closed:
            send()
            return
        at = arrival + self._timing.leaves_after(self._timing.monotonic() - arrival)
        with self._due:
            heapq.heappush(self._waiting, (at, next(self._numbers), send))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="departures", daemon=True)
                self._thread.start()
            if self._waiting[0][2] is send:
                self._due.notify()

    def close(self) -> None:
        """Send no more."""
        with self._due:
            self._closed = True
            self._due.notify()

    def _run(self) -> None:
        while (ready := self._await_ready()) is not None:
            for send in ready:
                send()

    def _await_ready(self) -> list[Callable[[], None]] | None:
        """All that is due, once something is; None at the end."""
        with self._due:
            while not self._closed:
                left = self._waiting[0][0] - self._timing.monotonic() if self._waiting else None
                if left is None:
                    self._due.wait()
                elif left > 0:
                    self._timing.wait(self._due, left)
                else:
                    return self._pop_due()
        return None

    def _pop_due(self) -> list[Callable[[], None]]:
        now, ready = self._timing.monotonic(), list[Callable[[], None]]()
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(heapq.heappop(self._waiting)[2])
        return ready
