"""Machines that release keys know or revoke: for everybody's data, at admission and at renewal, for good."""

from pathlib import Path

import pytest

from common.crypto.signing import SigningKey
from common.dcap import verify_quote
from common.errors import AppraisalError, AuthenticityError, FreshnessError
from common.identifiers import PlatformId
from common.key_retrieval import renew_lease
from common.messages.attestation import InventoryTaken, TakeInventory
from common.messages.decision_log import LogEntry
from common.messages.platform_inventory import PlatformInventory
from common.messages.signed import sign
from common.messages.tcb_terms import TcbTerms
from services.attestation.lease_table import LEASE_SECONDS
from tests.fakes.broker_world import QUERY, TRAINER, BrokerWorld
from tests.fakes.handover_world import Heir

ELSEWHERE = PlatformId("ab" * 16)


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """A broker whose releases want two signatures."""
    return BrokerWorld(tmp_path, release_signers=2)


def machine(world: BrokerWorld) -> PlatformId:
    """The one that all launches of this world run on: its platform instance id."""
    evidence = world.runtime("trainer").evidence(bytes(64))
    return verify_quote(evidence, world.trust.allowed_roots, world.time).machine.platform_ids[-1]


def take(
    world: BrokerWorld,
    number: int,
    *,
    known: tuple[PlatformId, ...] = (),
    revoked: tuple[PlatformId, ...] = (),
    keys: tuple[SigningKey, ...] = (),
) -> InventoryTaken:
    inventory = PlatformInventory(number=number, platforms=known, revoked=revoked, created=world.time)
    return world.channel().ask(TakeInventory(inventory=sign(inventory, *(keys or world.release_keys))), InventoryTaken)


def test_a_revoked_machine_gets_nothing_for_anybody(world: BrokerWorld) -> None:
    finished, running, others = world.start_job(), world.start_job(), world.start_job()
    world.finish(finished)
    trainer, query = world.launch(TRAINER, running), world.launch(QUERY, finished)
    taken = take(world, 1, revoked=(machine(world),))
    assert (taken.number, taken.leases_end) == (1, world.time + LEASE_SECONDS)
    for launch in (trainer, query):
        with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
            renew_lease(world.runtime(launch.binding.role), world.channel(), launch)
    for role, job in ((TRAINER, running), (TRAINER, others), (QUERY, finished)):
        with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
            world.launch(role, job)


def test_another_machines_end_is_nothing_to_this_one(world: BrokerWorld) -> None:
    job = world.start_job()
    launch = world.launch(TRAINER, job)
    take(world, 1, revoked=(ELSEWHERE,))
    assert renew_lease(world.runtime("trainer"), world.channel(), launch) == LEASE_SECONDS


def test_terms_may_want_a_known_machine(world: BrokerWorld) -> None:
    data = world.register_data(tcb=TcbTerms(inventory=True))
    job = world.start_job(data=data)
    for number, known in enumerate([(), (ELSEWHERE,)], start=1):
        with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
            world.launch(TRAINER, job)
        take(world, number, known=known)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
        world.launch(TRAINER, job)
    take(world, 3, known=(ELSEWHERE, machine(world)))
    world.launch(TRAINER, job)


def test_it_takes_as_many_release_keys_as_a_release(world: BrokerWorld) -> None:
    for keys in (world.release_keys[:1], (world.release_keys[0], SigningKey.generate())):
        with pytest.raises(AuthenticityError, match=r"authenticity\.signature"):
            take(world, 1, revoked=(machine(world),), keys=tuple(keys))
    world.launch(TRAINER, world.start_job())


def test_it_only_goes_forward_and_revives_nothing(world: BrokerWorld) -> None:
    take(world, 5, revoked=(ELSEWHERE,))
    for number in (4, 5):
        with pytest.raises(FreshnessError, match=r"freshness\.inventory"):
            take(world, number, known=(machine(world),), revoked=(ELSEWHERE,))
    with pytest.raises(FreshnessError, match=r"freshness\.inventory"):
        take(world, 6, known=(ELSEWHERE,))
    take(world, 7, known=(machine(world),), revoked=(ELSEWHERE,))


def test_it_is_logged_once_and_holds_after_a_restart(world: BrokerWorld) -> None:
    before = world.head.size
    assert take(world, 1, revoked=(machine(world),)) == take(world, 1, revoked=(machine(world),))
    assert world.head.size == before + 1
    entry = LogEntry.decode(world.store.entries[-1])
    assert (entry.decision, entry.outcome) == ("take-inventory", "recorded")
    assert set(entry.subjects.signers) == {key.party for key in world.release_keys}
    world.restart()
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        world.launch(TRAINER, world.start_job())


def test_a_broker_is_not_handed_over_to_a_revoked_machine(world: BrokerWorld) -> None:
    heir = Heir.of(world)
    take(world, 1, revoked=(machine(world),))
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        heir.succeed()


def test_a_machine_is_either_known_or_revoked() -> None:
    with pytest.raises(ValueError, match="named once"):
        PlatformInventory(number=1, platforms=(ELSEWHERE,), revoked=(ELSEWHERE,), created=0)
