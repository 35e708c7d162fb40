"""One query: opened, judged, charged, computed, sealed, released (side: enclave).

In this order, and none can be skipped:
  (1) the size is the model's one query size;
  (2) the header names a live session of this launch;
  (3) the query is authentic under that session's key, with its header and the model's manifest digest;
  (4) the session has not seen this counter, else what it answered is answered again;
  (5) the question has the model's shape and type;
  (6) the launch's lease and the grant's time are not over, and its budget covers all rows that are wanted and is
      charged, one answer for each row of this question;
  (7) provider code answers in a process of its own, within its deadline;
  (8) the outcome is sealed at one size;
  (9) it leaves at the next multiple of the quantum after the query arrived.
Up to (3) a refusal is a public code, because there is no key yet that both ends share. From (4) on every outcome is a
sealed answer, an error too, and the host sees neither which nor, within a quantum, how long it took.

Not closed: in which quantum an answer leaves. Provider code that wants to be heard by the host can choose it, up to
its deadline: log2(deadline / quantum) bits a query; docs/threat-model.md states them.
"""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.crypto.digests import sha256
from common.errors import FormatError, Refusal, UnavailableError, refusal_of
from common.messages.query import QUERY_MAGIC, Header, QueryProfile
from common.messages.query_tensors import decode_question, encode_answer, encode_refusal, rows_wanted
from common.sandbox.protocol import QuerySandbox
from services.query_enclave.grants import GrantBudgets, Now, require_current
from services.query_enclave.sessions import Session, SessionTable

QUANTUM_SECONDS: Final = 0.1
"""A digits-sized model takes 40 to 90 ms in its sandbox on two busy cores, so that it answers in the first quantum."""

DEADLINE_SECONDS: Final = 5.0
"""What provider code may take for one query; the sandbox ends it then."""


@dataclass(frozen=True)
class Timing:
    """The clock by which answers leave; `monotonic` and `sleep` are the machine's, or a test's."""

    quantum_seconds: float = QUANTUM_SECONDS
    deadline_seconds: float = DEADLINE_SECONDS
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def release(self, arrival: float) -> None:
        """Wait for the next multiple of the quantum after `arrival`."""
        passed = self.monotonic() - arrival
        quanta = max(1, math.ceil(passed / self.quantum_seconds))
        self.sleep(max(0.0, quanta * self.quantum_seconds - passed))


class Answering:
    """Answers queries for one placed model."""

    def __init__(
        self,
        profile: QueryProfile,
        sessions: SessionTable,
        budgets: GrantBudgets,
        sandbox: QuerySandbox,
        now: Now,
        timing: Timing,
        require_lease: Callable[[], None],
    ) -> None:
        self._profile, self._sessions, self._budgets, self._sandbox = profile, sessions, budgets, sandbox
        self._now, self._timing, self._require_lease = now, timing, require_lease
        self._turn = threading.Lock()

    def answer(self, query: bytes) -> bytes:
        """The sealed answer. Raises `FormatError` (1), `FreshnessError` (2) or `AuthenticityError` (3)."""
        arrival = self._timing.monotonic()
        if len(query) != self._profile.query_bytes:  # (1)
            raise FormatError("format.query", expected=f"{self._profile.query_bytes} bytes", seen=len(query))
        header = Header.parse(query, QUERY_MAGIC)
        session = self._sessions.find(header.session_id)  # (2)
        padded = session.cipher.open_query(query)  # (3)
        sealed = self._once(session, header.counter, query, padded)
        self._timing.release(arrival)  # (9)
        return sealed

    def _once(self, session: Session, counter: int, query: bytes, padded: bytes) -> bytes:
        def compute() -> bytes:
            return session.cipher.seal_answer(query, self._outcome(session, padded))  # (8)

        try:
            return session.once(counter, sha256(query), compute)  # (4)
        except Refusal as refusal:
            return session.cipher.seal_answer(query, self._refused(session, refusal))

    def _outcome(self, session: Session, padded: bytes) -> bytes:
        try:
            rows = decode_question(padded, self._profile)  # (5)
            self._require_lease()  # (6)
            require_current(session.terms, self._now())
            charge = self._budgets.take(session.grant, len(rows), rows_wanted(padded))
            with self._turn:
                outcome = self._sandbox.answer(rows, self._timing.deadline_seconds)  # (7)
            if outcome.answer_NA is None:
                raise refusal_of(outcome.code or "unavailable.enclave")
            return encode_answer(outcome.answer_NA, charge.left, charge.detail, self._profile)
        except Refusal as refusal:
            return self._refused(session, refusal)
        except Exception:
            return self._refused(session, UnavailableError("unavailable.enclave"))

    def _refused(self, session: Session, refusal: Refusal) -> bytes:
        return encode_refusal(refusal, self._budgets.left(session.grant), self._profile)
