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
from client import ordering
from client.broker import BrokerLink
from client.scheduling import plan_schedule
from common.broker_channel import BrokerChannel
from common.enclave.development import read_development_release
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import CloisterError
from common.identifiers import JobId, MrEnclave, PartyKey, RoleName
from common.key_retrieval import attest_and_fetch
from common.messages.attestation import AcceptOrder, OrderAccepted
from common.messages.evidence import SgxDcapEvidence, TrustLevel
from common.messages.release import Release
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


@dataclass(frozen=True)
class ServiceFigures:
    """One client's median and 95th percentile from challenge to key in hand; 64 at once, launches a second."""

    attest_and_key_p50_ms: float
    attest_and_key_p95_ms: float
    attest_per_second: float
    attest_errors: int


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
    with _running(directory) as site:
        alone = BrokerClient(site.attestation_url)
        times = sorted([_launch(site, 0, alone) for _ in range(_WARM + _ALONE)][_WARM:])
        with ProcessPoolExecutor(_PROCESSES, mp_context=get_context("spawn")) as processes:
            list(processes.map(_many, [site] * _PROCESSES, [()] * _PROCESSES))  # they start
            begun = time.monotonic()
            slots = [tuple(range(first, ENCLAVES, _PROCESSES)) for first in range(_PROCESSES)]
            errors = sum(processes.map(_many, [site] * _PROCESSES, slots))
        seconds = time.monotonic() - begun
    return ServiceFigures(
        attest_and_key_p50_ms=round(1000 * statistics.median(times), 1),
        attest_and_key_p95_ms=round(1000 * times[int(0.95 * len(times))], 1),
        attest_per_second=round((ENCLAVES * _ROUNDS - errors) / seconds, 1),
        attest_errors=errors,
    )


@contextmanager
def _running(directory: Path) -> Iterator[Site]:
    stack = EmbeddedStack(directory / "state")
    stack.start(tied=True)
    try:
        stack.wait_ready()
        parties = enrolled(stack, directory / "parties")
        training = replace(allowed_training(parties, directory / "parties", jobs=1, **_TERMS), trainers=ENCLAVES)
        owner = parties["owner"]
        schedule = plan_schedule(training.wishes, ordering.fetch_publication(owner, training.bundle_id).state_class)
        order = ordering.make_order(owner, training, schedule)
        told = BrokerLink(owner).ask(AcceptOrder(order=order, release=owner.trust.release), OrderAccepted)
        release = read_development_release(stack.state.root)
        if release is None:
            raise RuntimeError("a stack that is up has a release")
        reference = Release.decode(release.payload).reference(TRAINER, TrustLevel.SIMULATION)
        yield Site(
            stack.state.root, stack.url("attestation"), owner.trust.broker.signing_public, told.job_id,
            MrEnclave(reference.code),
        )  # fmt: skip
    finally:
        stack.stop()


def _launch(site: Site, slot: int, http: BrokerClient) -> float:
    """Seconds from the challenge to keys in hand."""
    runtime = _Runtime(SimulatedPlatform.open(site.state / "platform"), site.measurement)
    begun = time.perf_counter()
    attest_and_fetch(runtime, BrokerChannel(http.ask, site.broker), TRAINER, site.job_id, slot)
    return time.perf_counter() - begun


def _many(site: Site, slots: tuple[int, ...]) -> int:
    """Each slot is asked for by a thread, `_ROUNDS` times; how many were refused or failed."""
    if not slots:
        return 0

    def again_and_again(slot: int) -> int:
        client, errors = BrokerClient(site.attestation_url), 0
        for _ in range(_ROUNDS):
            try:
                _launch(site, slot, client)
            except CloisterError:
                errors += 1
        return errors

    with ThreadPoolExecutor(len(slots)) as threads:
        return sum(threads.map(again_and_again, slots))
