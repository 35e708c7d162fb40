"""Who a key broker is, and how it says so (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.crypto.digests import sha256, transcript
from common.crypto.labels import BROKER_GENESIS, BROKER_SUCCESSION
from common.identifiers import CodeMeasurement, Digest, PartyKey, PlatformId
from common.messages.base import Message, Nonce, Seconds
from common.messages.collateral import Marks
from common.messages.evidence import Evidence
from common.messages.policy import PublicKey
from common.messages.signed import Signed
from common.messages.tpm_counter import TpmCounter

MAX_MACHINES = 256
"""Names of machines that a broker may have been handed over from: a machine has two at most."""


class Genesis(Message):
    """The record with which a broker's life begins: its keys and the witnesses that guard its freshness.

    The quorum counts `witnesses` and `tpm_counters` alike. With neither, revocations, budgets and single-use orders
    hold only between restarts, and every result says so.
    """

    type: Literal["broker-genesis"] = "broker-genesis"
    version: Literal[1] = 1
    signing_public: PartyKey
    wrapping_public: PublicKey
    witnesses: Annotated[tuple[PartyKey, ...], Field(max_length=32)]
    witness_quorum: Annotated[int, Field(ge=0, le=32)]
    created: Seconds
    tpm_counters: Annotated[tuple[TpmCounter, ...], Field(max_length=8)] = ()

    @property
    def digest(self) -> Digest:
        """The broker's lasting name."""
        return sha256(transcript(BROKER_GENESIS, self.encode()))


class Succession(Message):
    """A broker that runs on in another enclave than the one that it was born in (common/messages/handover).

    It keeps its genesis, signing key and log. Its wrapping key is new, so what was wrapped to an earlier enclave opens
    only there. `predecessor` measured the enclave that handed over last, `release` names the one it accepted then.
    `machines` (PPIDs, platform instance ids) are those that it was handed over from, each as its heir verified it: had
    one of them been forged, whoever forged it would know the signing key.
    """

    handovers: Annotated[int, Field(ge=1, le=1 << 20)]
    wrapping_public: PublicKey
    predecessor: CodeMeasurement
    release: Digest
    machines: Annotated[tuple[PlatformId, ...], Field(max_length=MAX_MACHINES)] = ()

    @property
    def digest(self) -> Digest:
        """The subject of the broker's own quotes, once it was handed over."""
        return sha256(transcript(BROKER_SUCCESSION, self.encode()))


def current_wrapping_key(genesis: Genesis, succession: Succession | None) -> bytes:
    """The broker's public wrapping key: that of its birth, or of its last handover."""
    return genesis.wrapping_public if succession is None else succession.wrapping_public


class DescribeBroker(Message):
    """Who are you, freshly quoted? Answer: BrokerDescription."""

    type: Literal["describe-broker"] = "describe-broker"


class BrokerDescription(Message):
    """The broker's genesis, freshness and fresh quote. The quote binds (role broker, NO_SUBJECT, slot 0, attempt =
    epoch, the request's nonce, its two keys). While `frozen`, nothing is released; `boot_nonce` is for the witnesses.
    After a handover its wrapping key is the one of `succession`, else the genesis', and its subject that one's digest.
    `inventory` is the signed inventory of machines that is in force here (common/messages/platform_inventory).
    `collateral` is how new the collateral is that this broker has seen, for its witnesses to remember.
    """

    type: Literal["broker-description"] = "broker-description"
    genesis: Genesis
    evidence: Evidence
    frozen: bool
    boot_nonce: Nonce
    succession: Succession | None = None
    inventory: Signed | None = None
    collateral: Marks = ()

    @property
    def wrapping_public(self) -> bytes:
        """What keys, policies and orders are wrapped to now."""
        return current_wrapping_key(self.genesis, self.succession)
