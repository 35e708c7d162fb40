"""By which entry of the log each version of a policy, or of a bundle's terms, was taken (side: enclave).

Versions are remembered with their documents: an earlier one comes back into force where later ones are void
(`void_words`), and a job goes on under the terms by which its order was accepted.
"""

from typing import TypeVar

from common.identifiers import PartyKey
from common.messages.policy import BundleTerms, DataPolicy
from common.messages.signed import Signed, read_document
from services.attestation.context import BrokerContext
from services.attestation.party_records import AcceptedRecord, accepted_key
from services.attestation.records import BundleRecord, DatasetRecord, JobRecord

VersionedRecord = DatasetRecord | BundleRecord
VersionedT = TypeVar("VersionedT", DatasetRecord, BundleRecord)


def accepted(broker: BrokerContext, name: str, document: Signed | None = None) -> AcceptedRecord:
    """To be committed with the decision that takes this: the decision's own number."""
    return AcceptedRecord(name=name, number=broker.state.log.size, document=document)


def number_of(broker: BrokerContext, name: str) -> int:
    """By which entry this was taken; -1 if nobody remembers: then it stands."""
    record = broker.state.find(AcceptedRecord, accepted_key(name))
    return -1 if record is None else record.number


def version_name(record: VersionedRecord) -> str:
    """Name of the acceptance of a data set's newest policy version, or of a bundle's newest terms."""
    return _name(record, terms_of(record).policy_version)


def version_before(broker: BrokerContext, record: VersionedRecord) -> Signed | None:
    """The version that the newest is chained to."""
    newest = terms_of(record)
    found = broker.state.find(AcceptedRecord, accepted_key(_name(record, newest.policy_version - 1)))
    stands = found is not None and found.document is not None and found.document.digest == newest.previous
    return found.document if found is not None and stands else None


def terms_of(record: VersionedRecord) -> DataPolicy | BundleTerms:
    """Its newest policy or terms."""
    return record.policy if isinstance(record, DatasetRecord) else record.terms


def document_of(record: VersionedRecord) -> Signed:
    """The same as they were signed."""
    return record.policy_document if isinstance(record, DatasetRecord) else record.terms_document


def party_of(record: VersionedRecord) -> PartyKey:
    """Its owner or provider, by the key that it had then."""
    return record.manifest.owner if isinstance(record, DatasetRecord) else record.publication.provider


def with_version(record: VersionedT, document: Signed) -> VersionedT:
    """The record under this version."""
    field = "policy_document" if isinstance(record, DatasetRecord) else "terms_document"
    return record.model_copy(update={field: document})


def remembered(broker: BrokerContext, bundle: BundleRecord) -> list[AcceptedRecord]:
    """Version 1 of a bundle's terms, where a broker of an earlier build took it, which kept no document apart."""
    name = version_name(bundle)
    if broker.state.find(AcceptedRecord, accepted_key(name)) is not None:
        return []
    number = max(0, number_of(broker, bundle.bundle_id))
    return [AcceptedRecord(name=name, number=number, document=bundle.terms_document)]


def accepted_terms(broker: BrokerContext, job: JobRecord) -> BundleTerms:
    """The provider's terms under which an order was accepted.

    A job of an earlier build names none: then there was but version 1.
    """
    bundle = broker.bundle(job.order.bundle)
    first = broker.state.find(AcceptedRecord, accepted_key(_name(bundle, 1)))
    document = job.terms or (None if first is None else first.document) or bundle.terms_document
    return read_document(document, BundleTerms)


def _name(record: VersionedRecord, version: int) -> str:
    return f"{record.key} {version}"
