"""The service half of `./cloister bench attest`: launches attest and fetch keys from a running stack (side: owner).

Real services, one witness, the broker's real enclave process. The launches are simulated enclaves whose quotes are
made here: what is timed is challenge, quote, verification, decision, the witness's word and the keys in hand.
"""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from bench.kill_scene import allowed_training, enrolled
from bench.kill_victims import VICTIMS
from client import events as e
from client import ordering
from client import owner as operations
from client.broker import BrokerLink
from client.context import Party
from client.scheduling import ScheduleWishes, plan_schedule
from common.broker_channel import BrokerChannel
from common.crypto.key_file import Identity
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import CloisterError
from common.identifiers import JobId, MrEnclave, PartyKey, RoleName
from common.key_retrieval import attest_and_fetch
from common.messages.evidence import SgxDcapEvidence, TrustLevel
from common.messages.jobs import AcceptOrder, OrderAccepted
from common.untrusted.broker_client import BrokerClient
from deploy.embedded.stack import EmbeddedStack

TRAINER: Final = RoleName("trainer")
ENCLAVES: Final = 64
"""Slots of one order, each asked for by a launch of its own at the same time."""

_TERMS: Final = {"max_attempts": 64, "max_trainers": ENCLAVES}
_WARM: Final = 5
_ALONE: Final = 40
_ROUNDS: Final = 6
_PROCESSES: Final = 2
_START_SECONDS: Final = 60
_LONG_JOB: Final = ScheduleWishes(rounds=200, steps=20, batch=32, tick_milliseconds=100)
_TRAINING_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05

LEASE_SECONDS: Final = 180
"""services/attestation/lease_table.py; no bench imports a service."""


@dataclass(frozen=True)
class ServiceFigures:
    """One client's median and 95th percentile from challenge to key in hand; 64 at once, launches a second.

    `revocation_seconds`: from the owner's revocation until the last enclave that held the data key is gone, in a job
    that trains; `lease_seconds` is how long a host that hides the revocation could delay that.
    """

    attest_and_key_p50_ms: float
    attest_and_key_p95_ms: float
    attest_per_second: float
    attest_errors: int
    revocation_seconds: float
    lease_seconds: int


@dataclass(frozen=True)
class Site:
    """All that a launch needs to attest: paths and addresses, so that it crosses to another process."""

    state: Path
    attestation_url: str
    broker: PartyKey
    job_id: JobId
    measurement: MrEnclave


@dataclass(frozen=True)
class _Runtime:
    """A launch's evidence, made on the stack's simulated platform."""

    platform: SimulatedPlatform
    measurement: MrEnclave

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        return self.platform.evidence(self.measurement, report_data)


def measure_service(directory: Path) -> ServiceFigures:
    """Start a stack in `directory`, attest alone and then 64 at once."""
    with _running(directory) as (stack, owner, training):
        site = _site(stack, owner, replace(training, trainers=ENCLAVES))
        alone = _Host.of(site)
        times = sorted([_launch(site, 0, alone) for _ in range(_WARM + _ALONE)][_WARM:])
        with _processes() as processes:
            list(processes.map(_many, [site] * _PROCESSES, [(slot,) for slot in range(_PROCESSES)], [1] * _PROCESSES))
            begun = time.monotonic()
            slots = [tuple(range(first, ENCLAVES, _PROCESSES)) for first in range(_PROCESSES)]
            errors = sum(processes.map(_many, [site] * _PROCESSES, slots))
        seconds = time.monotonic() - begun
        revoked = _revocation_seconds(stack, owner, training)
    return ServiceFigures(
        attest_and_key_p50_ms=round(1000 * statistics.median(times), 1),
        attest_and_key_p95_ms=round(1000 * times[int(0.95 * len(times))], 1),
        attest_per_second=round((ENCLAVES * _ROUNDS - errors) / seconds, 1),
        attest_errors=errors,
        revocation_seconds=round(revoked, 1),
        lease_seconds=LEASE_SECONDS,
    )


def _processes() -> ProcessPoolExecutor:
    """All of them there, everything imported, before one of them does anything: 2 s of a core each."""
    context = get_context("spawn")
    return ProcessPoolExecutor(
        _PROCESSES, context, initializer=context.Barrier(_PROCESSES).wait, initargs=(_START_SECONDS,)
    )


@contextmanager
def _running(directory: Path) -> Iterator[tuple[EmbeddedStack, Party, ordering.Training]]:
    stack = EmbeddedStack(directory / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory / "parties")
        yield stack, parties["owner"], allowed_training(parties, directory / "parties", jobs=2, **_TERMS)
    finally:
        stack.stop()


def _site(stack: EmbeddedStack, owner: Party, training: ordering.Training) -> Site:
    """An order that the broker has accepted and the operator never sees: its slots are left to this benchmark."""
    schedule = plan_schedule(training.wishes, ordering.fetch_publication(owner, training.bundle_id).state_class)
    order = ordering.make_order(owner, training, schedule)
    told = BrokerLink(owner).ask(AcceptOrder(order=order, release=owner.trust.release), OrderAccepted)
    reference = owner.trust.open_release().reference(TRAINER, TrustLevel.SIMULATION)
    broker = owner.trust.broker.signing_public
    return Site(stack.state.root, stack.url("attestation"), broker, told.job_id, MrEnclave(reference.code))


def _revocation_seconds(stack: EmbeddedStack, owner: Party, training: ordering.Training) -> float:
    """Order a long job, revoke its data while it trains, and wait for its enclaves to be gone."""
    e.outcome(ordering.train(owner, replace(training, wishes=_LONG_JOB)), e.OrderAccepted)
    _await_holders(stack, training.trainers)
    time.sleep(_TRAINING_SECONDS)
    begun = time.monotonic()
    e.outcome(operations.delete(owner, training.dataset_id), e.Ended)
    _await_holders(stack, 0)
    return time.monotonic() - begun


def _await_holders(stack: EmbeddedStack, count: int) -> None:
    """Wait until so many trainer enclaves live. Raises `TimeoutError` after two leases."""
    give_up = time.monotonic() + 2 * LEASE_SECONDS
    while len(VICTIMS["trainer enclave"].find(stack.status())) != count:
        if time.monotonic() > give_up:
            raise TimeoutError(f"there were never {count} trainer enclaves")
        time.sleep(_LOOK_SECONDS)


@dataclass(frozen=True)
class _Host:
    """What launches of one process share: the machine that quotes for them, and the way to the service."""

    runtime: _Runtime
    http: BrokerClient

    @classmethod
    def of(cls, site: Site) -> "_Host":
        runtime = _Runtime(SimulatedPlatform.open(site.state / "platform"), site.measurement)
        operator = Identity.read(site.state / "credentials" / "operator.json").signing_key
        return cls(runtime, BrokerClient(site.attestation_url, operator))


def _launch(site: Site, slot: int, host: _Host) -> float:
    """Seconds from the challenge to keys in hand."""
    begun = time.perf_counter()
    attest_and_fetch(host.runtime, BrokerChannel(host.http.ask, site.broker), TRAINER, site.job_id, slot)
    return time.perf_counter() - begun


def _many(site: Site, slots: tuple[int, ...], rounds: int = _ROUNDS) -> int:
    """Each slot is asked for by a thread, so many times; how many were refused or failed."""
    host = _Host.of(site)

    def again_and_again(slot: int) -> int:
        errors = 0
        for _ in range(rounds):
            try:
                _launch(site, slot, host)
            except CloisterError:
                errors += 1
        return errors

    with ThreadPoolExecutor(len(slots)) as threads:
        return sum(threads.map(again_and_again, slots))
