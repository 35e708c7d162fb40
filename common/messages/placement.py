"""What a user checks of a query enclave before sealing a query to it (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import Digest, ModelId, PartyKey
from common.messages.base import Message, Seconds
from common.messages.evidence import Evidence
from common.messages.launch_binding import LaunchBinding
from common.messages.policy import TrustLevelName
from common.messages.signed import Signed


class Placement(Message):
    """The broker's word that this query enclave launch serves this model, under these grant authorities.

    Signed by the broker's signing key. A client accepts it with the launch's quote and binding alone.
    """

    type: Literal["placement"] = "placement"
    version: Literal[1] = 1
    model_id: ModelId
    manifest: Digest
    launch: PartyKey
    report_data: Annotated[bytes, Field(min_length=64, max_length=64)]
    grant_authorities: tuple[PartyKey, ...]
    release: Digest
    trust_level: TrustLevelName
    witnessed: bool
    not_after: Seconds


class QueryEnclaveProof(Message):
    """All that a user needs before sealing a query: the launch's binding and quote, placement, manifest, release."""

    type: Literal["query-enclave-proof"] = "query-enclave-proof"
    version: Literal[1] = 1
    binding: LaunchBinding
    evidence: Evidence
    placement: Signed
    manifest: Signed
    query_bytes: Annotated[int, Field(ge=1, le=32 << 20)]
    answer_bytes: Annotated[int, Field(ge=1, le=32 << 20)]
