"""What an identity signed between the theft of its key and its replacement, and what stands instead (side: enclave).

Time is the host's, so a theft is dated by the decision log: entries have numbers that nobody changes. Void is what the
old key's word was taken for in an entry from `void_from` on and before the statement itself; the successor's own words
come later, so the same statement again voids none of them.
"""

from collections.abc import Iterator

from common.identifiers import PartyKey
from common.messages.identity import RecoveryStatement
from common.messages.signed import Signed
from services.attestation.context import BrokerContext
from services.attestation.party_records import AcceptedRecord, accepted_key
from services.attestation.records import BundleRecord, DatasetRecord, JobRecord, Record
from services.attestation.revocation import destroyed, ended
from services.attestation.versions import VersionedT, accepted, number_of, version_before, version_name, with_version


def jobs_of(broker: BrokerContext, party: PartyKey) -> Iterator[JobRecord]:
    """Jobs of this party's data or code, by whichever of its keys."""
    names = broker.parties.names(party)
    for job in broker.state.all(JobRecord):
        if names.intersection((*job.order.owners, broker.bundle(job.order.bundle).publication.provider)):
            yield job


def void_words(broker: BrokerContext, signed: Signed, statement: RecoveryStatement) -> list[Record]:
    """The records after what is void is gone. Data sets come first: nothing is then released under what is void."""
    name = f"statement {signed.digest}"
    known = broker.state.find(AcceptedRecord, accepted_key(name))
    if statement.void_from is None:
        return []
    void = range(statement.void_from, broker.state.log.size if known is None else known.number)
    names = _names_then(broker, statement.party)
    changes: list[Record] = [accepted(broker, name)] if known is None else []
    for data in broker.state.all(DatasetRecord):
        if data.manifest.owner in names:
            changes += _standing(broker, data, void)
    for bundle in broker.state.all(BundleRecord):
        if bundle.publication.provider in names:
            is_void = number_of(broker, bundle.bundle_id) in void
            changes += destroyed(broker, bundle) if is_void else _standing(broker, bundle, void)
    for job in broker.state.all(JobRecord):
        if job.state == "running" and names.intersection(job.order.owners) and number_of(broker, job.job_id) in void:
            changes += ended(job)
    return list({change.key: change for change in changes}.values())


def _names_then(broker: BrokerContext, party: PartyKey) -> frozenset[PartyKey]:
    """The keys for which this one signed, while it was in force."""
    record = broker.parties.find(party)
    return frozenset((party, *(record.predecessors if record is not None else ())))


def _standing(broker: BrokerContext, record: VersionedT, void: range) -> list[Record]:
    """A thing under the newest version that stands; revoked where there is none: the thief registered it."""
    standing = record
    while number_of(broker, version_name(standing)) in void:
        before = version_before(broker, standing)
        if before is None:
            return destroyed(broker, record)
        standing = with_version(standing, before)
    return [] if standing is record else [standing]
