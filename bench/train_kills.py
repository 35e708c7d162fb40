"""Processes die at random moments of jobs that really learn: does each job finish, and is its model as good? (side:
owner)

`ALONE` jobs are left alone and give the accuracy that counts, their mean: seeds are drawn for each job, and models of
so short a training differ. In each further job several processes get SIGKILL at moments
that are drawn over its whole life: trainers, parameter server, their relays and workers, the key broker, RabbitMQ and
Redis. The supervisor, workers and schedulers bring back what died; the job goes on from its newest checkpoint, its
trainers from the state of the open round. Then its model is asked about held-out rows. In one more job nothing dies,
and RabbitMQ is silent for a while (bench/train_partition).
"""

import random
import secrets
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import numpy as np

from bench.kill_scene import allowed_training, enrolled
from bench.kill_strike import Strike, draw
from bench.train_partition import Partition
from client import events as e
from client import granting, ordering, user
from client.context import Party
from client.scheduling import ScheduleWishes
from common.identifiers import JobId
from common.messages.signed import Signed
from deploy.embedded.stack import EmbeddedStack

LEARNING: Final = ScheduleWishes(
    rounds=20, steps=30, batch=64, tick_milliseconds=100, step_milliseconds=20, slack_percent=300
)
"""The demo's job with three times the ticks that its rounds need: what dies costs time, and is made up for."""

ALONE: Final = 3
KILLS_PER_JOB: Final = 5
VICTIMS: Final = (
    "trainer enclave",
    "trainer relay",
    "trainer worker",
    "trainer sandbox",
    "paramserver enclave",
    "paramserver worker",
    "broker enclave",
    "attestation host",
    "rabbitmq",
    "redis",
)
SEQUENCE_BITS: Final = 24
"""services/paramserver/running.py; no bench imports a service."""

WITHIN: Final = 0.01
"""Of accuracy: how much worse a job that was hit may be than one that was left alone."""


@dataclass(frozen=True)
class KilledJob:
    """One job. `kills`: who died while it ran, and when after the order. `accuracy` None: it made no model that
    learned. `restarts`: how often its parameter server was launched again.
    """

    kills: tuple[str, ...]
    outcome: str
    rounds: int
    accuracy: float | None
    restarts: int


@dataclass(frozen=True)
class KillFigures:
    """`kills_survived` counts the deaths in jobs that finished within `WITHIN` of the accuracy of one left alone.

    `accuracy_left_alone` is the mean of `alone`. `partition_survived`: so did the job whose RabbitMQ was silent for
    `partition_seconds`.
    """

    seed: int
    kills: int
    kills_survived: int
    jobs: int
    accuracy_left_alone: float
    accuracy_worst: float
    rounds_worst: int
    partition_seconds: float
    partition_survived: bool
    alone: tuple[KilledJob, ...]
    played: tuple[KilledJob, ...]


@dataclass(frozen=True)
class _Play:
    """A stack, its parties, and rows that no job has seen."""

    stack: EmbeddedStack
    parties: dict[str, Party]
    training: ordering.Training
    directory: Path

    def job(self, victims: list[str], seed: str) -> KilledJob:
        """One job in which these die."""
        accepted = self._ordered()
        strikes = [Strike(self.stack, one) for one in draw(victims, accepted.seconds, seed)]
        return self._watched(accepted.job_id, strikes)

    def parted(self) -> tuple[KilledJob, float]:
        """One job with a silent RabbitMQ, and for how long it was."""
        accepted = self._ordered()
        partition = Partition(self.stack, accepted.seconds)
        partition.start()
        try:
            return self._watched(accepted.job_id, []), partition.held_seconds
        finally:
            partition.finish()

    def _ordered(self) -> e.OrderAccepted:
        training = replace(self.training, wishes=LEARNING)
        return e.outcome(ordering.train(self.parties["owner"], training), e.OrderAccepted)

    def _watched(self, job_id: JobId, strikes: list[Strike]) -> KilledJob:
        for strike in strikes:
            strike.start()
        told = list(ordering.watch(self.parties["owner"], job_id))
        struck = [str(strike.result) for strike in strikes if strike.result.after_seconds is not None]
        for strike in strikes:
            strike.finish()
        model, report = told[-1], [event.report for event in told if isinstance(event, e.ReportOpened)][-1]
        learned = isinstance(model, e.ModelSealed) and model.outcome in {"finished", "finished_short"}
        return KilledJob(
            kills=tuple(struck),
            outcome=str(model.outcome) if isinstance(model, e.ModelSealed) else "no model",
            rounds=report.round,
            accuracy=self._accuracy(model) if learned and isinstance(model, e.ModelSealed) else None,
            restarts=report.sequence >> SEQUENCE_BITS,
        )

    def _accuracy(self, model: e.ModelSealed) -> float:
        with np.load(self.directory / "digits" / "digits-held-out.npz", allow_pickle=False) as held_out:
            images, labels = held_out["image"], held_out["label"]
        asker, file = self.parties["user"], self.directory / f"{model.model_id}.grant"
        terms = granting.GrantTerms(len(labels))
        key = asker.identity.signing_key.party
        e.outcome(granting.grant(self.parties["owner"], key, model.model_id, terms, file), e.GrantSigned)
        answered = e.outcome(user.query(asker, Signed.decode(file.read_bytes()), images), e.Answered)
        return float(np.mean(np.array(answered.labels) == labels))


def measure_kills(kills: int) -> dict[str, Any]:
    """Play in a directory of its own, with a seed that is told."""
    with tempfile.TemporaryDirectory(prefix="cloister-kills-") as directory:
        return asdict(measure(Path(directory), kills, secrets.randbits(32), click.echo))


def measure(directory: Path, kills: int, seed: int, tell: Callable[[str], None] = lambda _: None) -> KillFigures:
    """Play jobs until so many processes have died. `tell` hears of each job."""
    jobs = 2 * -(-kills // KILLS_PER_JOB)  # a moment may be drawn that comes after its job's end
    stack = EmbeddedStack(directory / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory / "parties")
        training = allowed_training(parties, directory / "parties", jobs + ALONE + 1, max_attempts=64)
        play = _Play(stack, parties, training, directory / "parties")
        alone = [play.job([], "") for _ in range(ALONE)]
        tell(f"left alone: {alone}")
        parted = play.parted()
        tell(f"RabbitMQ silent for {parted[1]:.0f} s: {parted[0]}")
        chance, played = random.Random(seed), list[KilledJob]()
        while len(played) < jobs and (left := kills - sum(len(one.kills) for one in played)) > 0:
            victims = [chance.choice(VICTIMS) for _ in range(min(KILLS_PER_JOB, left))]
            played.append(play.job(victims, f"{seed}: {len(played)}"))
            tell(str(played[-1]))
    finally:
        stack.stop()
    return _figures(seed, alone, parted, played)


def _figures(
    seed: int, alone: list[KilledJob], parted: tuple[KilledJob, float], played: list[KilledJob]
) -> KillFigures:
    reached = [one.accuracy for one in alone if one.accuracy is not None]
    if len(reached) < len(alone):
        raise RuntimeError("a job that was left alone learned nothing: this machine is too busy for its schedule")
    mean = statistics.mean(reached)
    least = mean - WITHIN
    survived = [one for one in (parted[0], *played) if one.accuracy is not None and one.accuracy >= least]
    return KillFigures(
        seed=seed,
        kills=sum(len(one.kills) for one in played),
        kills_survived=sum(len(one.kills) for one in survived),
        jobs=len(played),
        accuracy_left_alone=mean,
        accuracy_worst=min((one.accuracy or 0.0 for one in played), default=mean),
        rounds_worst=min(one.rounds for one in played or alone),
        partition_seconds=parted[1],
        partition_survived=parted[0] in survived and parted[1] > 0,
        alone=tuple(alone),
        played=tuple(played),
    )
