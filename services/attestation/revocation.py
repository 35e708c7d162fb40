"""A party ends something of its own (side: enclave).

    data set   its owner      its key is destroyed; running jobs that use it are cancelled; models made of it stay
    bundle     its provider   its key is destroyed; running jobs are cancelled; its models can't be placed any more
    grant      an owner of the model's data                    no more answers under it
    job        an owner of its data   running: cancelled; finished: the model's key is destroyed

A destroyed key is gone from this state. Sealed copies in older states open nothing once the witnesses have seen this
one. Members of a cancelled job learn it from the signed member list and get nothing new; a host that keeps the list
from them only gains what is left of their leases, whose end the reply states.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from common.errors import FormatError, NotFoundError, PolicyError
from common.identifiers import BundleId, DatasetId, GrantId, JobId, PartyKey
from common.messages.policy import Revocation
from common.messages.revocation import Revoke, Revoked
from common.messages.signed import open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.lease_table import leases_end
from services.attestation.log_subjects import of_revocation
from services.attestation.records import (
    BundleRecord,
    DatasetRecord,
    JobRecord,
    Record,
    RevokedGrantRecord,
    revoked_grant_key,
)

RECORDS_AT_ONCE: Final = 16
"""A job's record is less than a MiB: its order, and 1024 launches at most."""

_PREFIX = {"dataset": "data_", "bundle": "bundle_", "grant": "grant_", "job": "job_"}


def revoke(broker: BrokerContext, body: Revoke, at: int) -> Revoked:
    """Take a signed revocation; a second one of the same thing ends only what the first did not come to.

    Raises `AuthenticityError`, `PolicyError` (policy.signer, policy.broker), `NotFoundError` or `FormatError`.
    """
    party = Revocation.decode(body.revocation.payload).party
    broker.parties.require_in_force(party)
    revocation = open_signed(body.revocation, Revocation, [party])
    if revocation.broker != broker.signing_key.party:
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=revocation.broker)
    if not revocation.identifier.startswith(_PREFIX[revocation.target]):
        raise FormatError("format.identifier", expected=f"a {revocation.target}", seen=revocation.identifier)
    changes = _changes(broker, revocation)
    if changes:
        commit_endings(
            broker, Decision("revoke", of_revocation(broker, revocation, body.revocation.digest)), at, changes
        )
    ends = [leases_end(job, at) for job in _holders(broker, revocation)]
    return Revoked(identifier=revocation.identifier, leases_end=max(ends, default=at))


def _holders(broker: BrokerContext, revocation: Revocation) -> Iterator[JobRecord]:
    """Jobs whose launches may still hold what is over; a grant's answers are drawn by enclaves of its owners' jobs."""
    for job in broker.state.all(JobRecord):
        named, owners = {*job.order.datasets, job.order.bundle, job.job_id}, broker.parties.holders(job.order.owners)
        if revocation.identifier in named or (revocation.target == "grant" and revocation.party in owners):
            yield job


def _changes(broker: BrokerContext, revocation: Revocation) -> list[Record]:
    name, party = revocation.identifier, revocation.party
    if revocation.target == "dataset":
        data = broker.dataset(DatasetId(name))
        _require_party(broker, party, data.manifest.owner)
        return destroyed(broker, data)
    if revocation.target == "bundle":
        bundle = broker.bundle(BundleId(name))
        _require_party(broker, party, bundle.publication.provider)
        return destroyed(broker, bundle)
    if revocation.target == "job":
        job = broker.job(JobId(name))
        _require_party(broker, party, *job.order.owners)
        return ended(job)
    return _end_grant(broker, GrantId(name), party)


def _require_party(broker: BrokerContext, party: PartyKey, *entitled: PartyKey) -> None:
    holders = broker.parties.holders(entitled)
    if party not in holders:
        raise PolicyError("policy.signer", expected=f"one of {sorted(holders)}", seen=party)


def commit_endings(broker: BrokerContext, decision: Decision, at: int, changes: Sequence[Record]) -> None:
    """What ends first, then the jobs that end with it, in entries that can be read back however many they are.

    Between two of them nothing is released for a job that is still to end: what it needs is gone. If the broker dies
    there, the same revocation again ends the rest.
    """
    for first in range(0, len(changes), RECORDS_AT_ONCE):
        broker.state.commit(decision, at, *changes[first : first + RECORDS_AT_ONCE])


def destroyed(broker: BrokerContext, record: DatasetRecord | BundleRecord) -> list[Record]:
    """What revoking a data set or bundle changes: its key is destroyed, and running jobs that use it are cancelled."""
    over = record.keys is None and not record.stayed
    keyless = [] if over else [record.model_copy(update={"keys": None, "stayed": False})]
    used_by = [
        job
        for job in broker.state.all(JobRecord)
        if job.state == "running" and record.key in (*job.order.datasets, job.order.bundle)
    ]
    return [*keyless, *(change for job in used_by for change in ended(job))]


def ended(job: JobRecord) -> list[Record]:
    """What ending a job changes: its keys are destroyed, it is cancelled if it ran, and no terms let it do anything."""
    if job.keys is None and not job.stayed:
        return []
    state = "cancelled" if job.state == "running" else job.state
    return [job.model_copy(update={"state": state, "keys": None, "stayed": False, "policies": (), "terms": None})]


def _end_grant(broker: BrokerContext, grant_id: GrantId, party: PartyKey) -> list[Record]:
    """A grant is known here by its draws only, so it may be ended before its first, by whoever has data here.

    That counts for models of this party's data alone (`budget`): nobody ends another's grants.
    """
    if not any(broker.parties.holder(data.manifest.owner) == party for data in broker.state.all(DatasetRecord)):
        raise NotFoundError("not_found.dataset", expected="a party with a registered data set", seen=party)
    if broker.state.find(RevokedGrantRecord, revoked_grant_key(grant_id, party)) is not None:
        return []
    return [RevokedGrantRecord(grant_id=grant_id, party=party)]
