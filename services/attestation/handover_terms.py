"""Whose keys go along at a handover: those whose party's newest terms accept the successor (side: enclave).

Terms accept a broker as they accept any enclave that gets a key of theirs: they name its release and have not revoked
it, its platform is strong enough, its machine meets their TCB terms, and where they list measurements, its own is among
them. A party names a new release by signing the next version of its policy, so nobody's keys move without that.

  data set, bundle   its own terms accept the successor
  job, model         the terms of all its data sets and of its bundle do

Expiry is not asked here: what is expired opens nothing before and after. A key that was destroyed is nowhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from common.dcap import QuoteClaims, require_tcb
from common.errors import ConflictError, Refusal
from common.identifiers import Digest
from common.messages.platform_inventory import PlatformInventory
from common.messages.policy import BundleTerms, DataPolicy
from common.policy_rules import require_level, require_measurement, require_release_accepted
from services.attestation.context import BrokerContext
from services.attestation.records import KEYED, BundleRecord, DatasetRecord, JobRecord, KeyedRecord


@dataclass(frozen=True)
class Successor:
    """What was verified of an heir, `at` a time, under the release of this digest and this inventory of machines."""

    release: Digest
    claims: QuoteClaims
    inventory: PlatformInventory
    at: int


def goes_along(broker: BrokerContext, record: KeyedRecord, successor: Successor) -> bool:
    """Whether the keys of this record may be handed to the successor."""
    return all(_accepts(terms, successor) for terms in _terms_over(broker, record))


def require_nothing_stays(broker: BrokerContext, successor: Successor) -> None:
    """Raise `ConflictError` (conflict.handover_terms) when some party's terms do not accept the successor."""
    keyed = (record for record in broker.state.records if isinstance(record, KEYED) and record.keys is not None)
    if not all(goes_along(broker, record, successor) for record in keyed):
        raise ConflictError("conflict.handover_terms", expected=f"terms that name release {successor.release}")


def _terms_over(broker: BrokerContext, record: KeyedRecord) -> Iterator[DataPolicy | BundleTerms]:
    match record:
        case DatasetRecord():
            yield record.policy
        case BundleRecord():
            yield record.terms
        case JobRecord():
            yield from (data.policy for data in broker.datasets_of(record))
            yield broker.bundle(record.order.bundle).terms


def _accepts(terms: DataPolicy | BundleTerms, successor: Successor) -> bool:
    claims = successor.claims
    try:
        require_release_accepted(terms, successor.release)
        require_level(terms, claims.trust_level)
        require_tcb(claims.machine, terms.tcb, successor.inventory, successor.at)
        require_measurement(terms, claims.measurement)
    except Refusal:
        return False
    return True
