"""The key broker as a party sees it: verified on this machine before any key is wrapped to it (side: owner).

A quote is asked for over a fresh nonce and appraised against the pinned release (common/broker_verification); the
genesis must be the pinned one, and log heads never go backwards, from one command to the next. Keys are wrapped to the
key that was quoted: a broker of a later build (which must be of the release that is pinned) has another.
"""

import secrets
import time
from typing import TypeVar

from client.context import Endpoints, Party
from client.events import QuoteVerified
from client.http_client import ServiceClient
from common.broker_channel import NONCE_BYTES, Ask, BrokerChannel, require_not_older
from common.broker_verification import VerifiedBroker, verify_broker
from common.crypto.signing import SigningKey
from common.dcap.collateral_name import name_of_quote
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError
from common.messages.attestation import BrokerDescription, BrokerReply, BrokerRequest, DescribeBroker, RequestBody
from common.messages.base import Message
from common.messages.evidence import Collateral, DcapQuote, TrustLevel
from common.messages.release import Release
from common.messages.signed import Signed

T = TypeVar("T", bound=Message)
BROKER_PATH = "/v1/broker"


def describe_broker(
    endpoints: Endpoints,
    trust_settings: TrustSettings,
    release: Release,
    floor: TrustLevel,
    key: SigningKey | None = None,
) -> VerifiedBroker:
    """Ask the broker for a fresh quote and verify it. Raises what `verify_broker` raises.

    Without the `key` of an enrolled identity it counts against what an address may ask.
    """
    request = BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=DescribeBroker()).encode()
    http = ServiceClient(endpoints.attestation, key)
    raw = http.post(BROKER_PATH, request)
    collateral = _collateral_for(raw, http)
    return verify_broker(raw, request, trust_settings, release, int(time.time()), floor=floor, collateral=collateral)


def _collateral_for(raw: bytes, http: ServiceClient) -> Collateral | None:
    """For a broker's quote that carries none, what the operator's service has; it is verified like any other."""
    unverified = BrokerReply.decode(Signed.decode(raw).payload).body
    if not isinstance(unverified, BrokerDescription) or not isinstance(unverified.evidence, DcapQuote):
        return None
    name = name_of_quote(unverified.evidence.quote)
    return Collateral.decode(http.get(f"/v1/collateral/{name.tee}/{name.fmspc}/{name.ca}"))


def trust_floor(party: Party) -> TrustLevel:
    """The weakest platform that this identity accepts: real hardware, unless it was made for simulation."""
    return TrustLevel.SIMULATION if party.identity.unsafe_simulation else TrustLevel.SGX


class BrokerLink:
    """This party's conversation with its pinned broker."""

    def __init__(self, party: Party, via: Ask | None = None) -> None:
        """`via` carries requests another way than straight to the attestation service."""
        self._party, self._trust = party, party.trust
        http = ServiceClient(party.endpoints.attestation, party.identity.signing_key)
        self._channel = BrokerChannel(
            via or (lambda raw: http.post(BROKER_PATH, raw)), self._trust.broker.signing_public, head=party.log_head
        )
        self._channel.read_details_as(party.identity.signing_key.party, party.identity.report_key)

    def verify(self) -> QuoteVerified:
        """Verify the broker's quote now. To be called before a key is wrapped to it. Raises what `verified` raises."""
        claims = self.verified().claims
        return QuoteVerified(role="broker", measurement=claims.measurement, trust_level=claims.trust_level)

    def verified(self) -> VerifiedBroker:
        """The pinned broker, with its quote verified now.

        Raises what `verify_broker` raises; `AppraisalError` (appraisal.pin) for another broker than the pinned one;
        `FreshnessError` when its log (freshness.state) or its collateral (freshness.collateral) is older than what this
        party has seen.
        """
        verified = describe_broker(
            self._party.endpoints,
            self._trust.trust_settings,
            self._trust.open_release(),
            trust_floor(self._party),
            self._party.identity.signing_key,
        )
        if verified.genesis.digest != self._trust.broker.digest:
            raise AppraisalError("appraisal.pin", expected=self._trust.broker.digest, seen=verified.genesis.digest)
        require_not_older(verified.head, self._party.log_head)
        self._party.remember_collateral(verified.collateral)
        self._party.remember_head(verified.head)
        self._party.remember_broker_key(verified.wrapping_public)
        self._channel.head = verified.head
        return verified

    def ask(self, body: RequestBody, kind: type[T]) -> T:
        """The broker's checked answer. Its refusal is raised, with expected and seen where they are for this party."""
        try:
            return self._channel.ask(body, kind)
        finally:
            if self._channel.head is not None:
                self._party.remember_head(self._channel.head)
