"""One job at a trainer, as a pure machine that the clock drives (side: enclave).

It joins exchange and local training: a new state starts a round on the work thread, and what comes of it leaves from
the first tick after it is ready. Nothing here waits, and nothing depends on what provider code says.

Where the schedule has `rounds_ahead`, round r + 1 is begun when round r is trained and its state has come, from that
state and this trainer's own change; the others' changes of round r are taken up a round later (Kale and others, 2025,
arXiv 2502.12996: overlapped, eager updates). A state that comes while r is trained has r + 1 queued behind it, so that
provider code does not wait for a tick in between. What is said of r + 1 waits until the server has taken r.

The server goes on behind the last ordered round, so training does, for nothing. After a failure it goes on here: once
in a round's time a round is *wasted*, of which nothing is said. So whether there is still something to learn shows
neither in reads nor in whether there is work. No round, of either kind, begins in the last D ticks.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from common.exchange.frames import Endpoint, FrameKind
from common.exchange.schedule import quantising_seconds
from common.messages.order import Schedule
from services.trainer_enclave.exchange import RoundState, Saying, TrainerExchange
from services.trainer_enclave.exporting import JobGraph
from services.trainer_enclave.quantising import JobQuantising
from services.trainer_enclave.training import LocalTraining, round_seconds

BEFORE_ALL = -1
"""The round of work on the initial state."""


@dataclass(frozen=True)
class _Begun:
    """Work on the provider's thread, or queued for it: the round that it is for, and whose state it starts from."""

    round: int
    state_round: int
    work: Future[Saying]


class TrainerJob:
    """`executor` has one thread, which all provider work shares. `graph`: of a bundle of native code. `quantising`: of
    slot 0, where int8 is ordered.
    """

    def __init__(
        self,
        schedule: Schedule,
        exchange: TrainerExchange,
        training: LocalTraining,
        executor: Executor,
        graph: JobGraph | None = None,
        quantising: JobQuantising | None = None,
    ) -> None:
        self._schedule, self.exchange, self._training, self._executor = schedule, exchange, training, executor
        self._graph, self._quantising = graph, quantising
        self._quantised_of: RoundState | None = None
        self._quantised: Future[bytes] | None = None
        self._ahead = bool(schedule.rounds_ahead) and not training.waits_for_data
        self._begun: deque[_Begun] = deque()
        self._ready: Saying | None = None
        self._initial_due = False
        self._trained_round = BEFORE_ALL
        self._failed: Saying | None = None
        self._wasting: Future[None] | None = None
        self._wasted_tick: int | None = None

    def follow(self, paramserver: Endpoint) -> bool:
        """Follow a later launch of the parameter server, from the initial state on; whether it is later."""
        if not self.exchange.follow(paramserver):
            return False
        self._forget_begun()
        self._trained_round, self._ready = BEFORE_ALL, None
        self._initial_due = self._training.waits_for_data
        if not self._initial_due:
            self._begin(self._executor.submit(self._training.initial))
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
        if self._ready is None and self._begun and self._begun[0].work.done():
            self._collect(self._begun.popleft())
        if self._ready is not None and self.exchange.has_effect:
            self.exchange.say(self._ready)
            self._ready = None
        if self._graph is not None and (payload := self._graph.payload) is not None:
            self.exchange.offer(FrameKind.GRAPH, payload)
            self._graph = None
        if self._quantising is not None:
            self._quantise(self._quantising, tick)
        self.exchange.process(tick)
        if self._failed is not None:
            self._waste_if_due(tick)
        if self._ready is not None or self._failed is not None:
            return
        if not self._initial_due:
            self._train_if_new(tick, ready)
        elif ready(None):
            self._initial_due = False
            self._begin(self._executor.submit(self._training.initial))

    def _quantise(self, quantising: JobQuantising, tick: int) -> None:
        """Once for each final state that came; what was found is said when it is there."""
        final, seconds = self.exchange.final, quantising_seconds(tick, self._schedule)
        if self._quantised is not None and self._quantised.done():
            self.exchange.offer(FrameKind.QUANTISED, self._quantised.result())
            self._quantised = None
        if final is not None and seconds is not None and final is not self._quantised_of:
            self._quantised_of = final
            self._quantised = self._executor.submit(quantising.run, final, self._schedule.state_class, seconds)

    def _begin(self, work: Future[Saying], number: int = BEFORE_ALL, state_round: int = BEFORE_ALL) -> None:
        self._begun.append(_Begun(number, state_round, work))

    def _collect(self, begun: _Begun) -> None:
        saying = begun.work.result()
        self._trained_round = begun.round
        if saying.kind == FrameKind.NOTE and self._failed is None:
            self._failed = saying
            self._forget_begun()
        self._ready = self._failed or saying

    def _train_if_new(self, tick: int, ready: Callable[[int | None], bool]) -> None:
        state, seconds = self.exchange.state, round_seconds(self._schedule, tick)
        if state is None or seconds is None:
            return
        self._forget_overtaken(state.round)
        begun = self._begun[-1].round if self._begun else self._trained_round
        ahead = self._ahead and state.round == begun
        if (ahead or state.round > begun) and len(self._begun) <= self._ahead and ready(state.round + ahead):
            work = self._executor.submit(self._training.round, state, seconds, ahead=ahead)
            self._begin(work, state.round + ahead, state.round)

    def _forget_begun(self) -> None:
        for one in self._begun:
            one.work.cancel()
        self._begun.clear()

    def _forget_overtaken(self, state_round: int) -> None:
        """What is queued behind a late round starts from the newest state, or not at all."""
        if len(self._begun) > 1 and self._begun[-1].state_round < state_round and self._begun[-1].work.cancel():
            self._begun.pop()

    def _waste_if_due(self, tick: int) -> None:
        seconds, every = round_seconds(self._schedule, tick), self._schedule.ticks_per_round
        under_way = self._wasting is not None and not self._wasting.done()
        if seconds is None or self._begun or under_way:
            return
        if self._wasted_tick is None or tick - self._wasted_tick >= every:
            number = max(0, tick - self._schedule.warmup_ticks) // every
            self._wasted_tick, self._wasting = tick, self._executor.submit(self._training.waste, number, seconds)
