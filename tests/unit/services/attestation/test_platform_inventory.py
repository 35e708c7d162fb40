"""Machines that release keys know or revoke: for everybody's data, at admission, renewal and handover, for good.

The launches of this world run on another machine than its broker.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from common.crypto.signing import SigningKey
from common.dcap import verify_quote
from common.errors import AppraisalError, AuthenticityError, ConflictError, FreshnessError
from common.identifiers import PlatformId, RoleName
from common.key_retrieval import renew_lease
from common.messages.decision_log import LogEntry
from common.messages.evidence import TrustLevel
from common.messages.platform_inventory import InventoryTaken, PlatformInventory, TakeInventory
from common.messages.reference_values import ReferenceValue, SgxReferenceValue
from common.messages.refusal_detail import Refused
from common.messages.release import Release
from common.messages.signed import sign
from common.messages.tcb_terms import TcbTerms
from common.messages.tokens import AttestationToken, IssueToken
from services.attestation.context import BrokerContext
from services.attestation.lease_table import LEASE_SECONDS
from tests.fakes.broker_world import MEASUREMENTS, QUERY, TRAINER, BrokerWorld, MemoryStore
from tests.fakes.handover_world import Heir
from tests.fakes.machines import another_machine, names_of

ELSEWHERE = PlatformId("ab" * 16)


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    """A broker whose releases want two signatures."""
    made = BrokerWorld(tmp_path, release_signers=2)
    launches = another_machine(made.platform)
    made.machines |= {"trainer": launches, "paramserver": launches, "query": launches}
    return made


def machine(world: BrokerWorld, role: str = "trainer") -> PlatformId:
    """The one that a role runs on: its platform instance id, which a quote puts behind its PPID."""
    evidence = world.runtime(role).evidence(bytes(64))
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


def elsewhere(world: BrokerWorld) -> Heir:
    """An heir on the machine of the launches."""
    heir = Heir.of(world)
    heir.runtime = replace(heir.runtime, platform=world.machines["trainer"])
    return heir


def test_a_broker_is_not_handed_over_to_a_revoked_machine(world: BrokerWorld) -> None:
    heir = elsewhere(world)
    take(world, 1, revoked=(machine(world),))
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        heir.give()
    assert world.context.handed_over is None


def test_nor_from_one(world: BrokerWorld) -> None:
    """The giver says so itself; where it is forged, the heir says it."""
    heir = elsewhere(world)
    take(world, 1, revoked=(machine(world, "broker"),))
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        heir.give()
    with pytest.MonkeyPatch.context() as forged:
        forged.setattr(BrokerContext, "require_own_machine", lambda _: None)
        given = heir.give()
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        heir.take(given, MemoryStore())


@pytest.mark.parametrize("giver_known", [False, True])
def test_terms_that_want_a_known_machine_hold_for_an_heir_and_for_a_giver(
    world: BrokerWorld, *, giver_known: bool
) -> None:
    """An owner's for the one; the release's, which the heir asks, for the other."""
    heir, wants = elsewhere(world), TcbTerms(inventory=True)
    both = (world.release.digest, heir.release.digest)
    data = world.register_data(releases=both, tcb=wants)
    with pytest.raises(ConflictError, match=r"conflict\.handover_terms"):
        heir.give()
    strict: dict[TrustLevel, ReferenceValue] = {
        TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=MEASUREMENTS["broker"], tcb=wants)
    }
    release = Release(name="test", tag="3", created=1, measurements={RoleName("broker"): strict})
    take(world, 1, known=(machine(world), *((machine(world, "broker"),) if giver_known else ())))
    given, named = heir.give(), sign(release, *world.release_keys)
    if not giver_known:
        with pytest.raises(AppraisalError, match=r"appraisal\.platform:"):
            heir.take(given, MemoryStore(), release=named)
        return
    heir.adopt(heir.take(given, release=named))
    assert world.context.keys_of(world.context.dataset(data.dataset_id))


def test_an_heir_names_the_machines_that_it_was_handed_over_from_and_stops_when_one_is_revoked(
    world: BrokerWorld,
) -> None:
    """By then a forged giver may be behind it: whoever forged that one knows the signing key."""
    first = names_of(world.platform)
    heir = elsewhere(world)
    heir.succeed()
    succession = world.describe().succession
    assert succession is not None
    assert succession.machines == first
    world.release, world.machines["broker"] = heir.release, world.machines["trainer"]
    back = Heir(world, world.release, world.runtime("broker", world.broker_measurement))
    back.adopt(back.take(back.give()))
    world.restart()
    succession = world.describe().succession
    assert succession is not None
    assert set(succession.machines) == {*first, *names_of(world.machines["trainer"])}
    world.register_data()
    take(world, 1, revoked=(first[0],))
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        world.register_data()
    third = Heir.of(world, tag="3")
    third.runtime = replace(third.runtime, platform=another_machine(world.platform))
    with pytest.MonkeyPatch.context() as forged:
        forged.setattr(BrokerContext, "require_own_machine", lambda _: None)
        given = third.give(leave_behind=True)
    with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
        third.take(given, MemoryStore())


def test_a_broker_on_a_revoked_machine_takes_and_gives_nothing_and_still_ends_things(world: BrokerWorld) -> None:
    data, bundle = world.register_data(), world.register_bundle()
    job = world.start_job(data, bundle)
    grant = world.grant(world.finish(job))
    serving, running = world.launch(QUERY, job), world.start_job(data, bundle)
    training = world.launch(TRAINER, running)
    order = sign(world.order(data, bundle), data.owner.key)
    take(world, 1, revoked=(machine(world, "broker"),))
    for ask in (
        world.register_data,
        world.register_bundle,
        lambda: world.accept(order),
        lambda: world.launch(TRAINER, running, 1),
        lambda: renew_lease(world.runtime("trainer"), world.channel(), training),
        lambda: world.draw(serving, grant),
        lambda: world.channel().ask(IssueToken(job_id=running, launch=training.signing_key.party), AttestationToken),
    ):
        with pytest.raises(AppraisalError, match=r"appraisal\.platform_revoked"):
            ask()
    refused = world.reply(IssueToken(job_id=running, launch=training.signing_key.party)).body
    assert isinstance(refused, Refused)
    assert refused.shown is not None
    assert machine(world, "broker") in (refused.shown.seen or ""), "the operator's to mend"
    take(world, 2, revoked=(machine(world, "broker"), ELSEWHERE))
    shown = world.describe().inventory
    assert shown is not None
    assert PlatformInventory.decode(shown.payload).number == 2
    world.revoke(data.owner, "dataset", data.dataset_id)


def test_a_machine_is_either_known_or_revoked() -> None:
    with pytest.raises(ValueError, match="named once"):
        PlatformInventory(number=1, platforms=(ELSEWHERE,), revoked=(ELSEWHERE,), created=0)
