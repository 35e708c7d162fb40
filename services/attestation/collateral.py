"""Collateral that the host offers, and the memory of how new it has been (side: enclave).

The host brings collateral for quotes that carry none. It is no more trusted than what comes with a quote: both are
verified with it. What the host could still do is show an old document, authentic and current; against that the broker
remembers, sealed with its state, the newest mark of each document that a launch was admitted under.
"""

from common.dcap.collateral_memory import CollateralMemory, marks_of
from common.dcap.completion import complete_evidence
from common.messages.attestation import Admit, AppraiseEvidence, RenewLease, RequestBody
from common.messages.evidence import Collateral
from services.attestation.context import BrokerContext
from services.attestation.records import CollateralRecord, collateral_key


def with_offered(body: RequestBody, offered: Collateral | None) -> RequestBody:
    """The request with the host's collateral where its evidence has none of its own."""
    if offered is None or not isinstance(body, Admit | RenewLease | AppraiseEvidence):
        return body
    return body.model_copy(update={"evidence": complete_evidence(body.evidence, offered)})


def require_not_older(broker: BrokerContext, verified: Collateral) -> tuple[CollateralRecord, ...]:
    """What is to be remembered once the launch is admitted. `verified` belongs to a quote that was verified with it.

    Raises `FreshnessError` (freshness.collateral) for a document that is older than one accepted before.
    """
    marks = marks_of(verified)
    records = (broker.state.find(CollateralRecord, collateral_key(mark.subject)) for mark in marks)
    memory = CollateralMemory(record.mark for record in records if record is not None)
    return tuple(CollateralRecord(mark=mark) for mark in memory.remember(marks))
