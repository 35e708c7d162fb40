"""Questions of several users answered in one evaluation of a graph (side: enclave).

N rows of an evaluation, X shape of an input row, A of an answer row, R rows that each question has room for.

Only what trusted code computes is batched: checks have shown that each row of a graph's output depends on its own row
of the input alone (common/model_graph). Provider code answers one question at a time, in a process of its own.

  - A batch is begun by the question that waits longest. It takes those that follow until it is full, or until its first
    one has waited `WAIT_SECONDS`. While one is computed, the next one fills.
  - Each question takes R rows of it, however few it asks about, and a question that was refused takes R rows too: so
    the work tells how many questions there are, which the host carried, and nothing of their rows.
  - An evaluation that fails says nothing of its members: each is evaluated again, alone. Rows that are no finite
    numbers are evaluated alone from the start. Whoever's question fails alone after it failed a batch has spoiled it:
    what is asked under that grant is evaluated alone from then on, so a grant spoils one batch in the life of a launch.
"""

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.bundle import TensorSpec
from common.sandbox.protocol import QueryOutcome, QuerySandbox

WAIT_SECONDS: Final = 0.002
"""How long the first question of a batch waits for others: a fifth of the finest quantum by which answers leave, so
that it costs no user a later one."""

MAX_QUESTIONS: Final = 32
"""Most questions of a batch. Of a ResNet-20 in float32 a row costs 3.2 ms of a core alone and 1.3 to 1.9 ms in units of
8, 16, 32 or 64 rows, so that more would only make the first ones wait (docs/serving.md, Figures)."""

_FAILED: Final = QueryOutcome(code="provider.killed")


@dataclass(frozen=True)
class Evaluation:
    """One question's rows, under whose grant (`asker`) it is asked, and who hears the outcome; `tell` raises nothing.

    Without rows it is the evaluation that a refused question takes part in.
    """

    rows_NX: NDArray[np.generic]
    asker: Hashable
    tell: Callable[[QueryOutcome], None]
    arrived: float = field(default_factory=time.monotonic)

    @functools.cached_property
    def is_finite(self) -> bool:
        """Whether its rows are finite numbers, as integers always are."""
        return self.rows_NX.dtype.kind != "f" or bool(np.isfinite(self.rows_NX).all())


class Batcher:
    """Evaluates what it is given, in order, on a thread that lives from the first question to `close`.

    `questions` at most are evaluated at once: 1 where provider code answers.
    """

    def __init__(
        self, sandbox: QuerySandbox, spec: TensorSpec, rows_each: int, deadline_seconds: float, questions: int = 1
    ) -> None:
        self._sandbox, self._spec, self._rows_each = sandbox, spec, rows_each
        self._deadline_seconds, self.questions = deadline_seconds, questions
        self._more = threading.Condition()
        self._waiting: deque[Evaluation] = deque()
        self._spoilers: set[Hashable] = set()
        self._thread: threading.Thread | None = None
        self._closed = False

    def submit(self, one: Evaluation) -> None:
        """Evaluate it when its turn comes."""
        with self._more:
            self._waiting.append(one)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="evaluations", daemon=True)
                self._thread.start()
            if len(self._waiting) in (1, self.questions):
                self._more.notify()

    def close(self) -> None:
        """Begin no more evaluations."""
        with self._more:
            self._closed = True
            self._more.notify()

    def _run(self) -> None:
        while batch := self._await_batch():
            self._evaluate(batch)

    def _await_batch(self) -> list[Evaluation]:
        """The next one, or none at the end."""
        with self._more:
            self._more.wait_for(lambda: self._waiting or self._closed)
            if self._closed:
                return []
            until = self._waiting[0].arrived + WAIT_SECONDS
            while len(self._waiting) < self.questions and not self._is_evaluated_alone(self._waiting[0]):
                left = until - time.monotonic()
                if left <= 0 or self._closed:
                    break
                self._more.wait(left)
            return self._pop_batch()

    def _pop_batch(self) -> list[Evaluation]:
        batch = [self._waiting.popleft()]
        while (
            len(batch) < self.questions
            and self._waiting
            and not self._is_evaluated_alone(batch[0])
            and not self._is_evaluated_alone(self._waiting[0])
        ):
            batch.append(self._waiting.popleft())
        return batch

    def _is_evaluated_alone(self, one: Evaluation) -> bool:
        return one.asker in self._spoilers or not one.is_finite

    def _evaluate(self, batch: Sequence[Evaluation]) -> None:
        outcome = self._ask(self._rows_of(batch))
        if len(batch) == 1:
            batch[0].tell(self._share(outcome, 0, batch[0]))
        elif outcome.answer_NA is None:
            self._evaluate_one_by_one(batch)
        else:
            for place, one in enumerate(batch):
                one.tell(self._share(outcome, place, one))

    def _evaluate_one_by_one(self, batch: Sequence[Evaluation]) -> None:
        for one in batch:
            outcome = self._ask(self._rows_of([one]))
            if outcome.answer_NA is None and len(one.rows_NX):
                self._spoilers.add(one.asker)
            one.tell(self._share(outcome, 0, one))

    def _ask(self, rows_NX: NDArray[np.generic]) -> QueryOutcome:
        try:
            outcome = self._sandbox.answer(rows_NX, self._deadline_seconds)
        except Exception:  # of the enclave's own making: the questions fail, the launch goes on
            return _FAILED
        if outcome.answer_NA is not None and len(outcome.answer_NA) != len(rows_NX):
            return _FAILED
        return outcome

    def _rows_of(self, batch: Sequence[Evaluation]) -> NDArray[np.generic]:
        """Each one's R rows; its first one stands for those that it lacks, another's for one that asks about none."""
        some = next((one.rows_NX for one in batch if len(one.rows_NX)), None)
        rows_NX = np.zeros((len(batch) * self._rows_each, *self._spec.shape), self._spec.dtype)
        for place, one in enumerate(batch):
            own = rows_NX[place * self._rows_each : (place + 1) * self._rows_each]
            own[: len(one.rows_NX)] = one.rows_NX
            if some is not None and len(one.rows_NX) < len(own):
                own[len(one.rows_NX) :] = (one.rows_NX if len(one.rows_NX) else some)[:1]
        return rows_NX

    def _share(self, outcome: QueryOutcome, place: int, one: Evaluation) -> QueryOutcome:
        if outcome.answer_NA is None:
            return outcome
        begin = place * self._rows_each
        return QueryOutcome(outcome.answer_NA[begin : begin + len(one.rows_NX)])
