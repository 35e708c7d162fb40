"""A user who asks one sealed question again and again while the stack is being hurt (side: owner).

A trained model gives one answer to one question, so every answer must be the first one. A question may take long: the
session sends the same bytes again, and opens another session when its launch is gone (client/query_session). None may
stay without an answer, and none may be answered otherwise.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.query_session import Answer, QuerySession
from common.errors import CloisterError

PAUSE_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 90.0


class Asker:
    """Asks on a thread of its own between `start` and `stop`, with a pause between an answer and the next question.

    `answered` counts; `problem` says what went wrong.
    """

    def __init__(
        self, open_session: Callable[[], QuerySession], rows: NDArray[Any], pause_seconds: float = PAUSE_SECONDS
    ) -> None:
        self._rows, self._session, self._pause_seconds = rows, open_session(), pause_seconds
        self._expected = self._session.ask(rows)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asker", daemon=True)
        self.answered = self.begun = 0
        self.problem: str | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Let the last question be answered."""
        self._stopped.set()
        self._thread.join(ANSWER_SECONDS)

    def problems(self) -> list[str]:
        """Wait until a question that begins now is answered; what went wrong so far."""
        wanted, deadline = self.begun + 1, time.monotonic() + ANSWER_SECONDS
        while self.answered < wanted and self.problem is None:
            if time.monotonic() > deadline:
                return [f"no answer within {ANSWER_SECONDS:.0f} s"]
            time.sleep(PAUSE_SECONDS)
        return [] if self.problem is None else [self.problem]

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_seconds) and self.problem is None:
            self.begun += 1
            try:
                answer = self._session.ask(self._rows)
            except CloisterError as error:
                self.problem = f"question {self.begun} was refused: {error}"
                return
            if not self._is_expected(answer):
                self.problem = f"question {self.begun} got another answer"
            self.answered += 1

    def _is_expected(self, answer: Answer) -> bool:
        first = self._expected
        if answer.scores is None or first.scores is None:
            return answer.scores is first.scores and np.array_equal(answer.labels, first.labels)
        return np.array_equal(answer.labels, first.labels) and np.allclose(answer.scores, first.scores, atol=1e-5)
