"""The rows of the next round, gathered while a GPU computes with those of this one (side: enclave).

A GPU is through with a round in the time in which a processor gathers a good part of the next, so each would wait for
the other. The rows of a round are a function of its number, so they may be gathered at any time; those of a round that
is never asked for are dropped. It costs the memory of one more round.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from common.sandbox.protocol import Rows


class RowsAhead:
    """`gather` is called on one thread of its own, for one round at a time; `of_round` belongs to one thread, too."""

    def __init__(self, gather: Callable[[int], Rows]) -> None:
        self._gather = gather
        self._thread = ThreadPoolExecutor(1, "rows-ahead")
        self._next: tuple[int, Future[Rows]] | None = None

    def of_round(self, number: int) -> Rows:
        """The rows of this round; those of the next are begun. Raises what `gather` raises."""
        waiting = self._next
        if waiting is None or waiting[0] != number:
            waiting = number, self._thread.submit(self._gather, number)
        rows = waiting[1].result()
        self._next = number + 1, self._thread.submit(self._gather, number + 1)
        return rows

    def close(self) -> None:
        """Gather no more. Idempotent."""
        self._thread.shutdown(wait=False, cancel_futures=True)
