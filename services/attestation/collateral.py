"""Collateral that the host offers, and the memory of how new it has been (side: enclave).

The host brings collateral for quotes that carry none. It is no more trusted than what comes with a quote: both are
verified with it. What the host could still do is show an old document, authentic and current; against that the broker
remembers, sealed with its state, the newest mark of each document that was verified with a quote, whatever became of
quote and launch: were only those that helped a launch remembered, a machine that the newest documents refuse or revoke
would still pass under those before. What was not verified leaves nothing.

A mark is no decision of its own. It is enclosed in the next one (`state`), and a renewal or refusal that brings newer
documents is entered for it (`leases`, `refusal_log`). Documents only age: what has grown once is not written again.
"""

from collections.abc import Collection

from common.dcap.collateral_memory import CollateralMemory
from common.dcap.completion import complete_evidence
from common.messages.admission import Admit, RenewLease
from common.messages.broker_exchange import RequestBody
from common.messages.collateral import CollateralMark
from common.messages.evidence import Collateral
from common.messages.tokens import AppraiseEvidence
from services.attestation.context import BrokerContext
from services.attestation.records import CollateralRecord, collateral_key


def with_offered(body: RequestBody, offered: Collateral | None) -> RequestBody:
    """The request with the host's collateral where its evidence has none of its own."""
    if offered is None or not isinstance(body, Admit | RenewLease | AppraiseEvidence):
        return body
    return body.model_copy(update={"evidence": complete_evidence(body.evidence, offered)})


def require_not_older(broker: BrokerContext, marks: Collection[CollateralMark]) -> None:
    """Remember these marks of verified documents.

    Raises `FreshnessError` (freshness.collateral) for a document that is older than one seen before; then of the others
    nothing is remembered either.
    """
    records = (broker.state.find_enclosed(CollateralRecord, collateral_key(mark.subject)) for mark in marks)
    memory = CollateralMemory(record.mark for record in records if record is not None)
    for mark in memory.remember(marks):
        broker.state.enclose(CollateralRecord(mark=mark))


def has_newer(broker: BrokerContext) -> bool:
    """Whether marks wait to be written: documents were newer than those of the last decision."""
    return broker.state.encloses(CollateralRecord)
