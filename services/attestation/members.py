"""Members are (job, slot, attempt): who holds which slot (side: enclave; ARCHITECTURE, decision 5).

Pure: records in, records out. Admitting attempt n + 1 of a slot replaces n, whose keys the others then refuse; this
also fences clones, because of two launches that claim one attempt only the first is admitted. A query enclave has no
slot to fence: several may serve one model, each until its placement ends.
"""

from collections.abc import Collection
from typing import Final

from common.errors import AppraisalError, FreshnessError, NotFoundError
from common.identifiers import RoleName
from common.messages.jobs import Member, Members
from common.messages.objects import SlotRecord
from services.attestation.records import JobRecord, LaunchRecord

TRAINER: Final = RoleName("trainer")
PARAMSERVER: Final = RoleName("paramserver")
QUERY: Final = RoleName("query")


def require_slot(job: JobRecord, role: RoleName, slot: int) -> None:
    """The order has this slot. Raises `NotFoundError`."""
    slots = {TRAINER: job.order.trainers, PARAMSERVER: 1, QUERY: 1}.get(role, 0)
    if not 0 <= slot < slots:
        raise NotFoundError("not_found.role", expected=f"one of {slots} slots of {role}", seen=slot)


def live_launch(job: JobRecord, role: RoleName, slot: int) -> LaunchRecord | None:
    """The newest launch of a slot."""
    held = [launch for launch in job.launches if (launch.role, launch.slot) == (role, slot)]
    return max(held, key=lambda launch: launch.attempt, default=None)


def next_attempt(job: JobRecord, role: RoleName, slot: int) -> int:
    """What the next launch of a slot would be; the first is 1."""
    held = live_launch(job, role, slot)
    return 1 if held is None else held.attempt + 1


def require_next(job: JobRecord, role: RoleName, slot: int, attempt: int) -> None:
    """Nobody was admitted to the slot since the challenge. Raises `FreshnessError` (freshness.attempt)."""
    if role != QUERY and attempt != next_attempt(job, role, slot):
        raise FreshnessError("freshness.attempt", expected=next_attempt(job, role, slot), seen=attempt)


def with_launch(job: JobRecord, launch: LaunchRecord, at: int) -> JobRecord:
    """The job with this launch admitted: it replaces its slot's, or joins the query enclaves still placed."""
    if launch.role == QUERY:
        kept = [one for one in job.launches if one.role != QUERY or one.not_after >= at]
    else:
        kept = [one for one in job.launches if (one.role, one.slot) != (launch.role, launch.slot)]
    return job.model_copy(update={"launches": (*kept, launch)})


def members_of(job: JobRecord) -> Members:
    """The signed list's content: the live launch of each slot of trainers and parameter server."""
    return Members(
        job_id=job.job_id,
        state=job.state,
        members=tuple(
            Member(
                role=launch.role,
                slot=launch.slot,
                attempt=launch.attempt,
                signing_public=launch.signing_public,
                mr_enclave=launch.mr_enclave,
            )
            for launch in sorted(job.launches, key=lambda one: (one.role, one.slot))
            if launch.role != QUERY
        ),
        model_revoked=job.manifest_document is not None and job.keys is None,
    )


def require_recorded_members(job: JobRecord, records: Collection[SlotRecord]) -> None:
    """A manifest's members are launches that were admitted here. Raises `AppraisalError` (appraisal.manifest)."""
    for record in records:
        live = live_launch(job, RoleName(record.role), record.slot)
        if live is None or not 1 <= record.attempt <= live.attempt or record.mr_enclave != live.mr_enclave:
            raise AppraisalError("appraisal.manifest", expected="admitted members", seen=(record.role, record.slot))
