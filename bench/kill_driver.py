"""Processes of a running stack die while a tiny job runs, and what must hold afterwards (side: owner).

One round: an order is accepted; each victim gets SIGKILL at its moment; the job is followed to its end. Then

  (1) the job has ended: finished, or failed with a public code;
  (2) every victim did die, and nothing that lived below it lives on;
  (3) every service is ready again: the supervisor has restarted what died, and the witness has confirmed the broker;
  (4) no process is left of the job: no relay, no launcher, no enclave, no sandbox;
  (5) every order that was ever accepted is still known, and the next one is accepted (that is the next round's);
  (6) the owner of a job that is publicly finished reads what came of it: that something was learned, or a code that
      says why not. The report that says so may be lost only with what it is on its way through.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bench.kill_strike import LOOK_SECONDS, Kill, Strike, draw
from bench.kill_victims import REPORTING, VICTIMS, ProcessGroup
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

LEFT_SECONDS: Final = 20.0
"""A relay whose job is over is ended after `GRACE_SECONDS` (common/untrusted/slot_keeper), 15 s."""

READY_SECONDS: Final = 60.0
ENDS: Final = frozenset({"finished", "failed"})


@dataclass(frozen=True)
class End:
    """How a job ended. `state` and `code` are public; `outcome` and `codes` stand in the last report, which only the
    owner reads: `outcome` is None when it was lost.
    """

    state: str
    code: str | None = None
    outcome: str | None = None
    codes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In a few words."""
        told = " ".join((self.outcome, *self.codes)) if self.outcome else "the last report was lost"
        return f"{self.state}: {self.code or told}"


@dataclass(frozen=True)
class Round:
    """One job, and what died meanwhile. `problems` says which of (1) to (6) did not hold; empty: all did."""

    job_id: JobId
    end: End
    kills: tuple[Kill, ...]
    job_seconds: float
    ready_seconds: float
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """One line."""
        died = ", ".join(str(one) for one in self.kills) or "nothing died"
        times = f"job {self.job_seconds:.1f} s, ready {self.ready_seconds:.1f} s later"
        return "; ".join((died, str(self.end), times, *self.problems))


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

    def judge(self, job_id: JobId, strikes: Sequence[Strike] = (), also_died: Collection[str] = ()) -> Round:
        """Follow a job to its end, and look at what must hold then. `also_died` names victims of the caller's own."""
        begun = time.monotonic()
        try:
            end = self._follow(job_id)
        except CloisterError as error:
            end = End("unknown", str(error))
        job_seconds = time.monotonic() - begun
        for strike in strikes:
            strike.finish()
        kills = tuple(strike.result for strike in strikes)
        died = {*also_died, *(kill.victim for kill in kills if kill.after_seconds is not None)}
        problems = [*end_problems(end), *told_problems(end, died)]  # (1), (6)
        ready_seconds, unready = self._await_ready()  # (3)
        problems += unready
        problems += [problem for strike in strikes for problem in strike.problems()]  # (2)
        problems += self._leftovers()  # (4)
        problems += self._lost_orders()  # (5)
        return Round(job_id, end, kills, job_seconds, ready_seconds, tuple(problems))

    def kill_now(self, names: Sequence[str]) -> list[ProcessGroup]:
        """SIGKILL to all victims of these names; what died with them or should."""
        status = self.stack.status()
        groups = [ProcessGroup.of(pid) for name in names for pid in VICTIMS[name].find(status)]
        for group in groups:
            group.kill()
        return groups

    def _follow(self, job_id: JobId) -> End:
        told = list(ordering.watch(self.owner, job_id))
        seen = [event for event in told if isinstance(event, e.JobSeen)][-1]
        last = [event.report for event in told if isinstance(event, e.ReportOpened) and event.report.outcome][-1:]
        outcome, codes = (last[0].outcome, last[0].codes) if last else (None, ())
        return End(seen.state, seen.code, outcome, codes)

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
        deadline = time.monotonic() + LEFT_SECONDS
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


def end_problems(end: End) -> list[str]:
    """What is wrong with a public end (1)."""
    if end.state not in ENDS:
        return [f"the job is {end.state}: {end.code}"]
    return ["the job failed without a code"] if end.state == "failed" and end.code is None else []


def told_problems(end: End, died: Collection[str]) -> list[str]:
    """What its owner should have read of a publicly finished job, and did not (6)."""
    if end.state != "finished":
        return []
    if end.outcome is None and REPORTING.isdisjoint(died):
        return ["the last report was lost, and nothing died that it is on its way through"]
    return ["nothing was learned, and no code says why"] if end.outcome == "failed" and not end.codes else []
