"""Door bodies with which a host starts the key broker's enclave and hands it collateral (side: library)."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import Digest, PartyKey
from common.messages.base import MAX_MESSAGE_BYTES, Message
from common.messages.evidence import Collateral
from common.messages.tpm_counter import TpmCounter

MAX_OFFERED_BYTES: Final = 3 << 20
"""A request of 1 MiB in base64, and the largest collateral."""


class StartBroker(Message):
    """Who guards a new broker's freshness; an old one knows it from its genesis record, whatever stands here.

    Owners see the rule in the genesis that they pin. Witnesses are keys and TPMs, of each TPM one counter.
    `peers`, by genesis, are brokers of others that this one witnesses for; the host may tell others at each start.
    No witnesses: quorum 0. Else more than half of them: two quorums
    without a common witness would let the host run two brokers of one state, each confirmed.
    """

    type: Literal["start-broker"] = "start-broker"
    version: Literal[1] = 1
    witnesses: Annotated[tuple[PartyKey, ...], Field(max_length=32)]
    witness_quorum: Annotated[int, Field(ge=0, le=32)]
    tpm_counters: Annotated[tuple[TpmCounter, ...], Field(max_length=8)] = ()
    peers: Annotated[tuple[Digest, ...], Field(max_length=64)] = ()

    @model_validator(mode="after")
    def _require_possible(self) -> Self:
        named = [*self.witnesses, *(one.endorsement_key for one in self.tpm_counters)]
        if len(set(named)) != len(named) or self.witness_quorum > len(named):
            raise ValueError("witnesses are distinct, and the quorum is within their number")
        if named and 2 * self.witness_quorum <= len(named):
            raise ValueError("a quorum is more than half of the witnesses")
        return self


class OfferedCollateral(Message):
    """A BrokerRequest as it came, and collateral for the quote in it that carries none."""

    type: Literal["offered-collateral"] = "offered-collateral"
    version: Literal[1] = 1
    request: Annotated[bytes, Field(max_length=MAX_MESSAGE_BYTES)]
    collateral: Collateral
