"""Processes of a running stack die while a tiny job runs, and what must hold afterwards (side: owner).

One round: an order is accepted; each victim gets SIGKILL at its moment; the job is followed to its end. Then

  (1) the job has ended: finished, or failed with a public code;
  (2) every victim did die, and nothing that lived below it lives on;
  (3) every service is ready again: the supervisor has restarted what died, and the witness has confirmed the broker;
  (4) no process is left of the job: no relay, no launcher, no enclave, no sandbox;
  (5) every order that was ever accepted is still known, and the next one is accepted (that is the next round's).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bench.kill_strike import LOOK_SECONDS, ORPHAN_SECONDS, Kill, Strike, draw
from bench.kill_victims import VICTIMS, ProcessGroup
from client import events as e
from client import ordering
from client.context import Party
from client.scheduling import ScheduleWishes
from common.errors import CloisterError
from common.identifiers import JobId
from deploy.embedded.probes import http_ready
from deploy.embedded.processes import children_of, command_line, descendants_of
from deploy.embedded.stack import EmbeddedStack

SHORT_JOB: Final = ScheduleWishes(
    rounds=1, steps=2, batch=8, tick_milliseconds=100, slack_percent=400, warmup_seconds=5
)
"""About eight seconds of ticks: a job whose every stage is short, to die in each of them."""

PATIENT_JOB: Final = replace(SHORT_JOB, warmup_seconds=12)
"""A job that a busy machine finishes too, when nobody disturbs it."""

READY_SECONDS: Final = 60.0
ENDS: Final = frozenset({"finished", "failed"})


@dataclass(frozen=True)
class Round:
    """One job, and what died meanwhile. `problems` says which of (1) to (5) did not hold; empty: all did.

    `state` and `code` are public; `outcome` is what only the owner reads: of the last report, None when it was lost.
    """

    job_id: JobId
    state: str
    code: str | None
    outcome: str | None
    kills: tuple[Kill, ...]
    job_seconds: float
    ready_seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        died = ", ".join(str(one) for one in self.kills) or "nothing died"
        ended = f"{self.state}: {self.code or self.outcome or 'the last report was lost'}"
        times = f"job {self.job_seconds:.1f} s, ready {self.ready_seconds:.1f} s later"
        return "; ".join((died, ended, times, *self.problems))


@dataclass
class KillDriver:
    """Plays rounds on one stack for one owner, who may order `training` as often as there are rounds."""

    stack: EmbeddedStack
    owner: Party
    training: ordering.Training
    accepted: list[JobId] = field(default_factory=list)

    def order(self, wishes: ScheduleWishes = SHORT_JOB) -> e.OrderAccepted:
        """One more accepted order. Nothing is tried twice. Raises the refusal of one that is not accepted (5)."""
        training = replace(self.training, wishes=wishes)
        accepted = e.outcome(ordering.train(self.owner, training), e.OrderAccepted)
        self.accepted.append(accepted.job_id)
        return accepted

    def round(self, names: Sequence[str], seed: str) -> Round:
        """Play one round with these victims at the moments of `seed`."""
        accepted = self.order()
        strikes = [Strike(self.stack, one) for one in draw(names, accepted.seconds, seed)]
        for strike in strikes:
            strike.start()
        return self.judge(accepted.job_id, strikes)

    def judge(self, job_id: JobId, strikes: Sequence[Strike] = ()) -> Round:
        """Follow a job to its end, and look at what must hold then."""
        begun = time.monotonic()
        try:
            state, code, outcome = self._follow(job_id)
        except CloisterError as error:
            state, code, outcome = "unknown", str(error), None
        job_seconds = time.monotonic() - begun
        for strike in strikes:
            strike.finish()
        problems = _end_problems(state, code)  # (1)
        ready_seconds, unready = self._await_ready()  # (3)
        problems += unready
        problems += [problem for strike in strikes for problem in strike.problems()]  # (2)
        problems += self._leftovers()  # (4)
        problems += self._lost_orders()  # (5)
        kills = tuple(strike.result for strike in strikes)
        return Round(job_id, state, code, outcome, kills, job_seconds, ready_seconds, tuple(problems))

    def kill_now(self, names: Sequence[str]) -> list[ProcessGroup]:
        """SIGKILL to all victims of these names; what died with them or should."""
        status = self.stack.status()
        groups = [ProcessGroup.of(pid) for name in names for pid in VICTIMS[name].find(status)]
        for group in groups:
            group.kill()
        return groups

    def _follow(self, job_id: JobId) -> tuple[str, str | None, str | None]:
        """Public state and code at the end, and the outcome that the owner read."""
        told = list(ordering.watch(self.owner, job_id))
        seen = [event for event in told if isinstance(event, e.JobSeen)][-1]
        sealed = [event for event in told if isinstance(event, e.ModelSealed)]
        return seen.state, seen.code, sealed[-1].outcome if sealed else None

    def _await_ready(self) -> tuple[float, list[str]]:
        """How long it took until every service said so itself, and who does not say it in time."""
        begun = time.monotonic()
        while missing := self._unready():
            if time.monotonic() - begun > READY_SECONDS:
                return READY_SECONDS, [f"{name} waits for {' and '.join(what)}" for name, what in missing.items()]
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - begun, []

    def _unready(self) -> dict[str, tuple[str, ...]]:
        """The supervisor's word may be seconds old, so services with a /readyz are asked themselves."""
        status = self.stack.status()
        if status.state != "ready":
            return status.waiting or {"the stack": (status.state,)}
        infrastructure = ("epmd", "rabbitmq", "redis")
        asked = {one.name: http_ready(status.ports[one.name])() for one in status.services
                 if one.name not in infrastructure}  # fmt: skip
        return {name: missing for name, missing in asked.items() if missing}

    def _leftovers(self) -> list[str]:
        """Processes of a slot although no job runs, and children of the supervisor that are no service."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while left := self._strangers():
            if time.monotonic() > deadline:
                return [f"left running: {command_line(pid)}" for pid in left]
            time.sleep(LOOK_SECONDS)
        return []

    def _strangers(self) -> list[int]:
        status = self.stack.status()
        if status.supervisor_pid is None:
            return []
        services = {one.name: one.pid for one in status.services}
        trainer = services.get("trainer")
        below = descendants_of(trainer) if trainer is not None else []
        return [*below, *(pid for pid in children_of(status.supervisor_pid) if pid not in services.values())]

    def _lost_orders(self) -> list[str]:
        """Accepted orders that the board does not know, or whose job did not end."""
        states = {event.job_id: event.state for event in ordering.jobs(self.owner) if isinstance(event, e.JobSeen)}
        return [
            f"{job_id} is {states.get(job_id, 'lost')}"
            for job_id in self.accepted
            if states.get(job_id) not in ordering.FINAL_STATES
        ]


def _end_problems(state: str, code: str | None) -> list[str]:
    if state not in ENDS:
        return [f"the job is {state}: {code}"]
    return ["the job failed without a code"] if state == "failed" and code is None else []
