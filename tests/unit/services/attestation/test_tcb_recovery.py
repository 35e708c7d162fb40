"""Intel publishes a new TCB while a job runs (docs/runbook.md, "TCB recovery in mid-job"): what becomes of a machine
that was not patched, and of one whose parties tolerate it.
"""

import pytest

from common.errors import AppraisalError, Refusal
from common.identifiers import JobId, RoleName
from common.key_retrieval import Launch, renew_lease
from common.messages.evidence import TrustLevel
from common.messages.reference_values import ReferenceValue, SgxReferenceValue
from common.messages.registration import Registered
from common.messages.release import Release
from common.messages.signed import sign
from common.messages.tcb_terms import TcbStatus, TcbTerms, TcbTolerance
from services.attestation.lease_table import LEASE_SECONDS
from tests.fakes.broker_world import MEASUREMENTS, PARAMSERVER, QUERY, TRAINER, BrokerWorld
from tests.fakes.tcb_recovery import publish_newer_tcb

FINDS = r"appraisal\.tcb_status"


def renew(world: BrokerWorld, launch: Launch) -> int:
    return renew_lease(world.runtime(launch.binding.role), world.channel(), launch)


def tolerant(world: BrokerWorld) -> TcbTerms:
    """A grace of ten minutes for machines that are not patched."""
    return TcbTerms(tolerances=(TcbTolerance(status=TcbStatus.OUT_OF_DATE, until=world.time + 600),))


def release_tolerant(world: BrokerWorld) -> None:
    """From now on the world's release has that grace."""
    references: dict[RoleName, dict[TrustLevel, ReferenceValue]] = {
        RoleName(role): {TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=measured, tcb=tolerant(world))}
        for role, measured in MEASUREMENTS.items()
    }
    world.release = sign(Release(name="test", tag="2", created=1, measurements=references), *world.release_keys)


def finished(world: BrokerWorld) -> JobId:
    job_id = world.start_job()
    world.finish(job_id)
    return job_id


@pytest.mark.parametrize("role", [TRAINER, PARAMSERVER, QUERY])
def test_an_unpatched_machine_loses_its_lease_and_gets_no_other(world: BrokerWorld, role: RoleName) -> None:
    job_id = finished(world) if role == QUERY else world.start_job()
    launch = world.launch(role, job_id)
    assert renew(world, launch) == LEASE_SECONDS
    publish_newer_tcb(world)
    with pytest.raises(AppraisalError, match=FINDS):
        renew(world, launch)
    with pytest.raises(AppraisalError, match=FINDS):
        world.launch(role, job_id)
    assert [one.signing_public for one in world.context.job(job_id).launches if one.role == role] == [
        launch.signing_key.party
    ]


def test_a_job_that_is_ordered_afterwards_starts_on_no_such_machine(world: BrokerWorld) -> None:
    publish_newer_tcb(world)
    with pytest.raises(AppraisalError, match=FINDS):
        world.launch(TRAINER, world.start_job())


def test_a_host_that_goes_on_showing_the_older_collateral_gains_nothing(world: BrokerWorld) -> None:
    """Once anybody's newer one was accepted: here that of a job whose parties all tolerate the machine."""
    launch = world.launch(TRAINER, world.start_job())
    older = world.platform.collateral()
    release_tolerant(world)
    data, bundle = world.register_data(tcb=tolerant(world)), world.register_bundle(tcb=tolerant(world))
    publish_newer_tcb(world)
    world.launch(TRAINER, world.start_job(data, bundle))
    publish_newer_tcb(world, older)
    with pytest.raises(Refusal, match=r"freshness\.collateral"):
        renew(world, launch)


def test_a_grace_lets_a_job_go_on_as_long_as_it_lasts(world: BrokerWorld) -> None:
    """Where release, owner and provider all state it."""
    release_tolerant(world)
    data, bundle = world.register_data(tcb=tolerant(world)), world.register_bundle(tcb=tolerant(world))
    launch = world.launch(TRAINER, world.start_job(data, bundle))
    publish_newer_tcb(world)
    assert renew(world, launch) == LEASE_SECONDS
    world.time += 601
    with pytest.raises(AppraisalError, match=FINDS):
        renew(world, launch)


@pytest.mark.parametrize("strict", ["release", "owner", "provider"])
def test_nobody_s_grace_loosens_what_another_demands(world: BrokerWorld, strict: str) -> None:
    if strict != "release":
        release_tolerant(world)
    data = world.register_data(tcb=TcbTerms() if strict == "owner" else tolerant(world))
    bundle = world.register_bundle(tcb=TcbTerms() if strict == "provider" else tolerant(world))
    launch = world.launch(TRAINER, world.start_job(data, bundle))
    publish_newer_tcb(world)
    with pytest.raises(AppraisalError, match=FINDS):
        renew(world, launch)


def test_a_grace_that_is_signed_later_is_for_later_orders(world: BrokerWorld) -> None:
    """A new policy version never widens what a running job may do."""
    release_tolerant(world)
    data, bundle = world.register_data(), world.register_bundle(tcb=tolerant(world))
    launch = world.launch(TRAINER, world.start_job(data, bundle))
    publish_newer_tcb(world)
    terms = world.policy_terms(data.owner, policy_version=2, previous=data.policy.digest, tcb=tolerant(world))
    world.channel().ask(world.policy_update(data, sign(terms, data.owner.key)), Registered)
    with pytest.raises(AppraisalError, match=FINDS):
        renew(world, launch)
    assert renew(world, world.launch(TRAINER, world.start_job(data, bundle))) == LEASE_SECONDS
