"""Collateral that the host offers, and the memory of how new it has been (side: enclave).

The host brings collateral for quotes that carry none. It is no more trusted than what comes with a quote: both are
verified with it. What the host could still do is show an old document, authentic and current; against that the broker
remembers, sealed with its state, the newest mark of each document that was verified with a quote, whatever became of
quote and launch: were only those that helped a launch remembered, a machine that the newest documents refuse or revoke
would still pass under those before. What was not verified leaves nothing.

A mark is no decision of its own. It is enclosed in the next one (`state`), and a renewal, refusal or token that brings
newer documents is entered for it (`leases`, `refusal_log`, `token_log`). Documents only age: what has grown once is not
written again.

A state may have been stored before the newest marks were, and a broker that takes over from one that is gone has none.
So witnesses remember them as well, and tell them when they confirm a head or retire a broker. That is their word, not
Intel's: it counts as far as a quorum of them has reached it, so that one of them alone shuts out nobody.
"""

from collections.abc import Collection, Iterable

from common.dcap.collateral_memory import CollateralMemory, vouched_for
from common.dcap.completion import complete_evidence
from common.identifiers import Digest, PartyKey
from common.messages.admission import Admit, RenewLease
from common.messages.broker_exchange import RequestBody
from common.messages.broker_identity import Genesis
from common.messages.collateral import MAX_MARKS, CollateralMark, Marks, SeenCollateral
from common.messages.evidence import Collateral
from common.messages.tokens import AppraiseEvidence
from services.attestation.records import CollateralRecord
from services.attestation.state import BrokerState


def with_offered(body: RequestBody, offered: Collateral | None) -> RequestBody:
    """The request with the host's collateral where its evidence has none of its own."""
    if offered is None or not isinstance(body, Admit | RenewLease | AppraiseEvidence):
        return body
    return body.model_copy(update={"evidence": complete_evidence(body.evidence, offered)})


class KnownCollateral:
    """The newest mark of each document that this broker has seen, in quotes or by its witnesses' memories."""

    def __init__(self, state: BrokerState, genesis: Genesis) -> None:
        self._state = state
        self._memory = CollateralMemory(record.mark for record in state.all(CollateralRecord))
        self._told = dict[PartyKey, Collection[CollateralMark]]()
        self._quorum = max(1, genesis.witness_quorum - len(genesis.tpm_counters))

    def require_not_older(self, marks: Collection[CollateralMark]) -> None:
        """Remember these marks of verified documents.

        Raises `FreshnessError` (freshness.collateral) for a document that is older than one seen before; then of the
        others nothing is remembered either.
        """
        self._keep(self._memory.remember(marks))

    def hear(self, witness: PartyKey, marks: Collection[CollateralMark]) -> None:
        """What a witness of this broker remembers, by its signed word. A quorum of those that can is believed."""
        self._told[witness] = vouched_for((self._told.get(witness, ()), marks))
        self._keep(self._memory.learn(vouched_for(self._told.values(), self._quorum)))

    @property
    def marks(self) -> Marks:
        """What witnesses are to remember."""
        return self._memory.marks[:MAX_MARKS]

    @property
    def digest(self) -> Digest:
        """By which they see that it has changed."""
        return SeenCollateral(marks=self.marks).digest

    @property
    def has_newer(self) -> bool:
        """Whether marks wait to be written: documents were newer than those of the last decision."""
        return self._state.encloses(CollateralRecord)

    def _keep(self, marks: Iterable[CollateralMark]) -> None:
        for mark in marks:
            self._state.enclose(CollateralRecord(mark=mark))
