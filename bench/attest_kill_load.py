"""Fifty enclaves that attest and fetch keys without end, an owner who orders jobs for them, a query enclave that draws
answers (side: owner). They go on whatever dies, and write down what they were told.

The launches are simulated enclaves whose quotes are made here; every answer's signature, nonce and log head is checked
as an enclave does it. Jobs allow few attempts, the data set few jobs, a grant few answers: each limit is reached again
and again.
"""

import functools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeVar

from common.broker_channel import BrokerChannel
from common.crypto.keys import SecretKey
from common.errors import Refusal, UnavailableError
from common.identifiers import Digest, GrantId, JobId
from common.key_retrieval import Launch, attest_and_fetch
from common.messages.broker_exchange import BrokerReply
from common.messages.signed import Signed, sign
from tests.fakes.broker_world import QUERY, TRAINER, SealedData
from tests.fakes.served_world import ServedWorld

ENCLAVES: Final = 50
ATTEMPTS: Final = 3
"""Of each slot of a job, by the owner's policy."""

ANSWERS: Final = 60
"""Of each grant, drawn in blocks of `_BLOCK`, which does not divide them."""

_BLOCK: Final = 8
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0
_PASSES: Final = frozenset({"freshness.challenge"})
"""Beside what is unavailable: a challenge dies with the broker that issued it."""

PATIENCE_SECONDS: Final = 60.0
"""How long anybody waits for one thing once nothing dies any more."""

T = TypeVar("T")


@dataclass
class Told:
    """What was told to anybody. `heads`: roots by size of the log. `refusals` are those that nothing explains;
    `repeated` counts questions that had to be asked anew.
    """

    attempts: list[tuple[JobId, int, int]] = field(default_factory=list)
    job_keys: dict[JobId, list[SecretKey]] = field(default_factory=dict)
    answers: dict[GrantId, int] = field(default_factory=dict)
    heads: dict[int, set[Digest]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)
    repeated: int = 0


class Load:
    """All of them, between `start` and `finish`, on threads of their own."""

    def __init__(self, world: ServedWorld, jobs: int) -> None:
        self.world, self.told, self.jobs_allowed = world, Told(), jobs
        self._lock, self._stopped = threading.Lock(), threading.Event()
        world.on_reply = self._note_head
        self.jobs: list[JobId] = []
        self.data: SealedData = world.register_data(
            max_jobs=jobs, max_trainers=ENCLAVES, max_attempts=ATTEMPTS, answers_total=1_000_000
        )
        self._bundle = world.register_bundle(answers_total=1_000_000)
        self._more = threading.Condition()
        self._needed, self._calm_at = 1, math.inf
        self._model, self._serving = self._served()
        self._threads = ThreadPoolExecutor(ENCLAVES + 2, thread_name_prefix="load")
        self._running = [self._threads.submit(self._order)]

    def start(self) -> None:
        """Everybody begins."""
        self._running += [self._threads.submit(self._attest, slot) for slot in range(ENCLAVES)]
        self._running.append(self._threads.submit(self._draw))

    def finish(self) -> list[str]:
        """Nobody begins anything more. Then, with nothing dying any more: all jobs that are left are ordered, and every
        enclave fetches its keys for the last one. Who does not get what it should, in words.
        """
        self._calm_at = time.monotonic()
        self._stopped.set()
        with self._more:
            self._more.notify_all()
        for one in self._running:
            one.result()
        self._threads.shutdown()
        while self._order_one():
            pass
        with ThreadPoolExecutor(ENCLAVES) as threads:
            got = threads.map(lambda slot: self._fetch(self.jobs[-1], slot, self._channel()), range(ENCLAVES))
            return [f"enclave {slot} got no keys of the last job" for slot, keys in enumerate(got) if keys is None]

    # -- enclaves

    def _attest(self, slot: int) -> None:
        channel, number = self._channel(), 0
        while not self._stopped.is_set() and (job_id := self._job(number)) is not None:
            if self._fetch(job_id, slot, channel) is None:
                number += 1

    def _fetch(self, job_id: JobId, slot: int, channel: BrokerChannel) -> Launch | None:
        """Keys, however long it takes; None when the slot's attempts are used up."""
        runtime = self.world.runtime(TRAINER)
        launch = self._insist(lambda: attest_and_fetch(runtime, channel, TRAINER, job_id, slot), "policy.attempts")
        if launch is not None:
            with self._lock:
                self.told.attempts.append((job_id, slot, launch.attempt))
                self.told.job_keys.setdefault(job_id, []).append(launch.keys["job"])
        return launch

    # -- their owner

    def _job(self, number: int) -> JobId | None:
        """Job `number`, once it was ordered; None when no more may be, or all is over."""
        with self._more:
            self._needed = max(self._needed, number + 1)
            self._more.notify_all()
            self._more.wait_for(lambda: len(self.jobs) > number or self._stopped.is_set() or self._all_ordered)
            return self.jobs[number] if len(self.jobs) > number else None

    @property
    def _all_ordered(self) -> bool:
        return len(self.jobs) >= self.jobs_allowed - 2  # one was the query enclave's, one is for the end

    def _order(self) -> None:
        while not self._stopped.is_set():
            with self._more:
                self._more.wait_for(lambda: self._needed > len(self.jobs) or self._stopped.is_set())
            if self._all_ordered or (not self._stopped.is_set() and not self._order_one()):
                return

    def _order_one(self) -> bool:
        """One more job, by one order that is brought until it is answered; False when the policy allows no more."""
        order = self.world.order(self.data, self._bundle, trainers=ENCLAVES)
        signed = sign(order, self.data.owner.key)
        accepted = self._insist(lambda: self.world.accept(signed), "policy.jobs")
        with self._more:
            self.jobs += [] if accepted is None else [accepted.job_id]
            self._more.notify_all()
        return accepted is not None

    # -- a query enclave

    def _served(self) -> tuple[Signed, Launch]:
        job_id = self.world.accept(sign(self.world.order(self.data, self._bundle), self.data.owner.key)).job_id
        return self.world.finish(job_id), self.world.launch(QUERY, job_id)

    def _draw(self) -> None:
        grant = self.world.grant(self._model, answers=ANSWERS)
        while not self._stopped.is_set():
            block = self._insist(functools.partial(self.world.draw, self._serving, grant, _BLOCK), "policy.budget")
            if block is None:
                grant = self.world.grant(self._model, answers=ANSWERS)
            else:
                name = GrantId.of(grant.digest)
                self.told.answers[name] = self.told.answers.get(name, 0) + block.answers

    # -- asking

    def _channel(self) -> BrokerChannel:
        """One enclave's conversation for its whole life: no head may be older than one that it saw before."""
        return BrokerChannel(self.world.handle, self.world.genesis.signing_public)

    def _insist(self, action: Callable[[], T], limit: str) -> T | None:
        """What `action` gives, done again after whatever passes; None when `limit` is reached, or for a problem."""
        begun, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
        while True:
            try:
                return action()
            except Refusal as refusal:
                if refusal.code == limit:
                    return None
                passes = isinstance(refusal, UnavailableError) or refusal.code in _PASSES
                waited = time.monotonic() - max(begun, self._calm_at)
                if not passes or waited > PATIENCE_SECONDS:
                    self._note(f"{refusal.code} instead of an answer")
                    return None
            with self._lock:
                self.told.repeated += 1
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _note(self, problem: str) -> None:
        with self._lock:
            self.told.refusals.append(problem)

    def _note_head(self, raw: bytes) -> None:
        head = BrokerReply.decode(Signed.decode(raw).payload).head
        with self._lock:
            self.told.heads.setdefault(head.size, set()).add(head.root)
