"""One job at a trainer, as a pure machine that the clock drives (side: enclave).

It joins exchange and local training: a new state starts a round on the work thread, and what comes of it leaves from
the first tick after it is ready. Nothing here waits, and nothing depends on what provider code says.

Where the schedule has `rounds_ahead`, round r + 1 is begun when round r is trained and its state has come, from that
state and this trainer's own change; the others' changes of round r are taken up a round later (Kale and others, 2025,
arXiv 2502.12996: overlapped, eager updates). What is said of r + 1 waits until the server has taken r.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future

from common.exchange.frames import Endpoint, FrameKind
from common.messages.order import Schedule
from services.trainer_enclave.exchange import Saying, TrainerExchange
from services.trainer_enclave.exporting import JobGraph
from services.trainer_enclave.training import LocalTraining, round_seconds


class TrainerJob:
    """`executor` has one thread, which all provider work shares. `graph`: of a bundle of native code."""

    def __init__(
        self,
        schedule: Schedule,
        exchange: TrainerExchange,
        training: LocalTraining,
        executor: Executor,
        graph: JobGraph | None = None,
    ) -> None:
        self._schedule, self.exchange, self._training, self._executor = schedule, exchange, training, executor
        self._graph = graph
        self._ahead = bool(schedule.rounds_ahead) and not training.waits_for_data
        self._work: Future[Saying] | None = None
        self._ready: Saying | None = None
        self._initial_due = False
        self._trained_round = -1
        self._failed: Saying | None = None

    def follow(self, paramserver: Endpoint) -> bool:
        """Follow a later launch of the parameter server, from the initial state on; whether it is later."""
        if not self.exchange.follow(paramserver):
            return False
        self._trained_round, self._ready = -1, None
        self._work = None if self._training.waits_for_data else self._executor.submit(self._training.initial)
        self._initial_due = self._training.waits_for_data
        if self._failed is not None:
            self.exchange.say(self._failed)
        return True

    def give_up(self, code: str) -> None:
        """The slot's data can't be opened: say so once, train no more. The schedule goes on."""
        if self._failed is None:
            self._failed = self._training.note(0, code)
            self.exchange.say(self._failed)

    def emit(self, tick: int) -> list[bytes]:
        """The frames of a tick: what was decided before it, or dummies."""
        return self.exchange.emit(tick)

    def process(self, tick: int, ready: Callable[[int | None], bool]) -> None:
        """What follows in a tick. A round, and (None) a design before all, begin once their data are `ready`."""
        self.exchange.listen()
        if self._work is not None and self._work.done():
            self._collect(self._work.result())
            self._work = None
        if self._ready is not None and self.exchange.has_effect:
            self.exchange.say(self._ready)
            self._ready = None
        if self._graph is not None and (payload := self._graph.payload) is not None:
            self.exchange.offer(payload)
            self._graph = None
        self.exchange.process(tick)
        if self._work is not None or self._ready is not None or self._failed is not None:
            return
        if not self._initial_due:
            self._train_if_new(tick, ready)
        elif ready(None):
            self._initial_due = False
            self._work = self._executor.submit(self._training.initial)

    def _collect(self, saying: Saying) -> None:
        if saying.kind == FrameKind.NOTE and self._failed is None:
            self._failed = saying
        self._ready = self._failed or saying

    def _train_if_new(self, tick: int, ready: Callable[[int | None], bool]) -> None:
        state, seconds = self.exchange.state, round_seconds(self._schedule, tick)
        if state is None or seconds is None:
            return
        ahead = self._ahead and state.round == self._trained_round and state.round + 1 < self._schedule.rounds
        if (ahead or state.round > self._trained_round) and ready(state.round + ahead):
            self._trained_round = state.round + ahead
            self._work = self._executor.submit(self._training.round, state, seconds, ahead=ahead)
