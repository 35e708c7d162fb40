"""Asks the broker for a job's members, or its end, on a thread of its own, when the clock says so (side: enclave).

The clock calls `due` at fixed ticks and never waits for an answer. What the host makes of the question (drops it,
delays it) costs freshness of the list, nothing else: a list is signed by the broker and its log heads never go back.
"""

import contextlib
import threading
from collections.abc import Callable

from common.errors import CloisterError
from common.messages.jobs import Members

ListMembersOf = Callable[[], Members]


class MemberPoll:
    """`listing` asks the broker; `take` receives each answer, on the poll's thread."""

    def __init__(self, listing: ListMembersOf, take: Callable[[Members], None]) -> None:
        self._listing, self._take = listing, take
        self._due, self._stopped, self._taking = threading.Event(), False, threading.Lock()
        self._thread = threading.Thread(target=self._run, name="member-poll", daemon=True)

    def start(self) -> None:
        """Begin, with a first list at once."""
        self._due.set()
        self._thread.start()

    def due(self) -> None:
        """Ask again; a question that is under way stands for this one."""
        self._due.set()

    def stop(self) -> None:
        """No answer is taken after this returns. The thread ends with the question that is under way."""
        with self._taking:
            self._stopped = True
        self._due.set()

    def _run(self) -> None:
        while self._due.wait() and not self._stopped:
            self._due.clear()
            with contextlib.suppress(CloisterError, TimeoutError):
                members = self._listing()
                with self._taking:
                    if not self._stopped:
                        self._take(members)
