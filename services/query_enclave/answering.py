"""One query: opened, judged, charged, computed, sealed, released (side: enclave).

In this order, and none can be skipped:
  (1) the size is the model's one query size;
  (2) the header names a live session of this launch;
  (3) the query is authentic under that session's key, with its header and the model's manifest digest;
  (4) the session has not seen this counter, else what it answered is answered again;
  (5) the question has the model's shape and type;
  (6) the launch's lease and the grant's time are not over, and its budget covers all rows that are wanted and is
      charged, one answer for each row of this question, unless its user asked too often in the last minute;
  (7) provider code answers in a process of its own, within its deadline; a graph answers this question in one
      evaluation with those of others (batching);
  (8) the outcome, cut to what the terms let it tell, is sealed at one size, for this session alone, an answer with a
      receipt where its question asks for one;
  (9) it leaves at the next multiple of the quantum after the query arrived (departures).
Up to (3) a refusal is a public code, because there is no key yet that both ends share. From (4) on every outcome is a
sealed answer, an error too, and the host sees neither which nor, within a quantum, how long it took. Where a graph
answers, a question that (5) or (6) refuses takes part in an evaluation all the same, as a row that is not its own, and
its refusal leaves with the others' answers.

No step waits for another query but the broker's word at (6), on a thread of its own, and the turn at (7).

Not closed: in which quantum an answer leaves. Provider code that wants to be heard by the host can choose it, up to
its deadline: log2(deadline / quantum) bits a query; docs/threat-model.md states them.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.crypto.digests import sha256
from common.errors import FormatError, Refusal, UnavailableError, refusal_of
from common.identifiers import Digest
from common.messages.query import QUERY_MAGIC, Header, QueryProfile
from common.messages.query_tensors import decode_question, encode_refusal, rows_wanted
from common.sandbox.protocol import QueryOutcome, QuerySandbox
from services.query_enclave.batching import Batcher, Evaluation
from services.query_enclave.departures import Departures, Timing
from services.query_enclave.grants import Charge, GrantBudgets, Now, require_current
from services.query_enclave.receipts import Receipts
from services.query_enclave.sessions import Session, SessionTable
from services.query_enclave.telling import tell

Rows = NDArray[np.generic]

DRAWING_THREADS: Final = 8
"""Questions that wait at one time for the broker's word about their grants; more of them queue."""


@dataclass(frozen=True)
class _Asked:
    """A query behind (4), and its digest. `answered`: what its session remembers."""

    session: Session
    query: bytes
    digest: Digest
    padded: bytes
    answered: Future[bytes]


class Answering:
    """Answers queries for one placed model, up to `questions` of them in one evaluation."""

    def __init__(
        self,
        profile: QueryProfile,
        sessions: SessionTable,
        budgets: GrantBudgets,
        sandbox: QuerySandbox,
        now: Now,
        timing: Timing,
        require_lease: Callable[[], None],
        receipts: Receipts,
        *,
        questions: int = 1,
    ) -> None:
        self._profile, self._sessions, self._budgets = profile, sessions, budgets
        self._now, self._timing, self._require_lease, self._receipts = now, timing, require_lease, receipts
        self._batcher = Batcher(sandbox, profile.input, profile.max_rows, timing.deadline_seconds, questions)
        self._departures = Departures(timing)
        self._drawing = ThreadPoolExecutor(max_workers=DRAWING_THREADS, thread_name_prefix="draw")
        self._no_rows = np.zeros((0, *profile.input.shape), profile.input.dtype)

    def begin(self, query: bytes) -> Future[bytes]:
        """The sealed answer, when it is time for it to leave; returns at once.

        Raises `FormatError` (1), `FreshnessError` (2) or `AuthenticityError` (3).
        """
        arrival = self._timing.monotonic()
        if len(query) != self._profile.query_bytes:  # (1)
            raise FormatError("format.query", expected=f"{self._profile.query_bytes} bytes", seen=len(query))
        header = Header.parse(query, QUERY_MAGIC)
        session = self._sessions.find(header.session_id)  # (2)
        padded = session.cipher.open_query(query)  # (3)
        leaving, digest = Future[bytes](), sha256(query)
        try:
            answered, is_first = session.claim(header.counter, digest)  # (4)
        except Refusal as refusal:
            answered, is_first = Future[bytes](), False
            answered.set_result(session.cipher.seal_answer(query, self._refused(session, refusal)))
        answered.add_done_callback(
            lambda done: self._departures.leave(arrival, lambda: leaving.set_result(done.result()))  # (9)
        )
        if is_first:
            self._judge(_Asked(session, query, digest, padded, answered))
        return leaving

    def answer(self, query: bytes) -> bytes:
        """The sealed answer; waits for it. Raises as `begin`."""
        return self.begin(query).result()

    def close(self) -> None:
        """Begin no more evaluations, and send nothing more."""
        self._batcher.close()
        self._departures.close()
        self._drawing.shutdown(wait=False, cancel_futures=True)

    def _judge(self, asked: _Asked) -> None:
        try:
            rows = decode_question(asked.padded, self._profile)  # (5)
            self._require_lease()  # (6)
            require_current(asked.session.terms, self._now())
            session = asked.session
            charge = self._budgets.take_held(session.grant, session.terms.user, len(rows), rows_wanted(asked.padded))
        except Refusal as refusal:
            self._refuse(asked, refusal)
        except Exception:
            self._refuse(asked, UnavailableError("unavailable.enclave"))
        else:
            if charge is None:
                self._drawing.submit(self._draw, asked, rows)
            else:
                self._evaluate(asked, rows, charge)

    def _draw(self, asked: _Asked, rows: Rows) -> None:
        """(6) where it takes the broker's word."""
        session = asked.session
        try:
            charge = self._budgets.take(session.grant, session.terms.user, len(rows), rows_wanted(asked.padded))
        except Refusal as refusal:
            self._refuse(asked, refusal)
        except Exception:
            self._refuse(asked, UnavailableError("unavailable.enclave"))
        else:
            self._evaluate(asked, rows, charge)

    def _evaluate(self, asked: _Asked, rows: Rows, charge: Charge) -> None:
        def hear(outcome: QueryOutcome) -> None:
            try:
                if outcome.answer_NA is None:
                    raise refusal_of(outcome.code or "unavailable.enclave")
                answer = tell(outcome.answer_NA, charge.left, charge.detail, charge.bounds, self._profile)
                padded = self._receipts.attach(asked.session, asked.padded, answer)
            except Refusal as refusal:
                padded = self._refused(asked.session, refusal)
            except Exception:
                padded = self._refused(asked.session, UnavailableError("unavailable.enclave"))
            self._seal(asked, padded)

        self._batcher.submit(Evaluation(rows, asked.session.grant_id, hear))  # (7)

    def _refuse(self, asked: _Asked, refusal: Refusal) -> None:
        padded = self._refused(asked.session, refusal)
        if self._profile.answered_by == "graph":
            self._batcher.submit(
                Evaluation(self._no_rows, asked.session.grant_id, lambda _outcome: self._seal(asked, padded))
            )
        else:
            self._seal(asked, padded)

    def _seal(self, asked: _Asked, padded: bytes) -> None:
        sealed = asked.session.cipher.seal_answer(asked.query, padded, asked.digest.raw())  # (8)
        asked.answered.set_result(sealed)

    def _refused(self, session: Session, refusal: Refusal) -> bytes:
        return encode_refusal(refusal, self._budgets.left(session.grant), self._profile)
