"""The key broker as a party sees it: verified on this machine before any key is wrapped to it (side: owner).

A quote is asked for over a fresh nonce and appraised against the pinned release (common/broker_verification); the
genesis must be the pinned one, its machine one that this party accepts (client/platforms); log heads and inventories of
machines never go backwards, from one command to the next. Keys are wrapped to the key that was quoted: a broker of a
later build (which must be of the release that is pinned) has another.
"""

import time
from typing import TypeVar

from client.broker_quote import BROKER_PATH, Learning, RulesOf, verified_broker
from client.context import Endpoints, Party
from client.events import Noted, QuoteVerified
from client.http_client import ServiceClient
from client.platforms import rules_shown
from common.broker_channel import Ask, BrokerChannel, require_not_older
from common.broker_verification import VerifiedBroker
from common.crypto.signing import SigningKey
from common.dcap.platform_rules import PLATFORM_REFUSALS
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError, Refusal
from common.messages.base import Message
from common.messages.broker_exchange import RequestBody
from common.messages.evidence import TrustLevel
from common.messages.release import Release
from common.messages.signed import Signed
from common.messages.tcb_terms import TcbTerms

T = TypeVar("T", bound=Message)


def describe_broker(
    endpoints: Endpoints,
    trust_settings: TrustSettings,
    release: Release,
    rules: RulesOf,
    floor: TrustLevel,
    key: SigningKey | None = None,
    learning: Learning | None = None,
) -> VerifiedBroker:
    """Ask the broker for a fresh quote and verify it (`verified_broker`). Raises what that raises.

    Without the `key` of an enrolled identity it counts against what an address may ask.
    """
    service = ServiceClient(endpoints.attestation, key)
    return verified_broker(service, trust_settings, release, rules, int(time.time()), floor=floor, learning=learning)


def trust_floor(party: Party) -> TrustLevel:
    """The weakest platform that this identity accepts: real hardware, unless it was made for simulation."""
    return TrustLevel.SIMULATION if party.identity.unsafe_simulation else TrustLevel.SGX


class BrokerLink:
    """This party's conversation with its pinned broker."""

    def __init__(self, party: Party, via: Ask | None = None) -> None:
        """`via` carries requests another way than straight to the attestation service."""
        self._party, self._trust = party, party.trust
        http = ServiceClient(party.endpoints.attestation, party.identity.signing_key)
        self._via: Ask = via or (lambda raw: http.post(BROKER_PATH, raw))
        self._answer = b""
        self._channel = BrokerChannel(self._carry, self._trust.broker.signing_public, head=party.log_head)
        self._channel.read_details_as(party.identity.signing_key.party, party.identity.report_key)

    def verify(self, *terms: TcbTerms) -> QuoteVerified:
        """Verify the broker's quote now. To be called before a key is wrapped to it: `terms` are those over the key.

        Raises what `verified` raises.
        """
        claims = self.verified(*terms).claims
        return QuoteVerified(role="broker", measurement=claims.measurement, trust_level=claims.trust_level)

    def verify_to_end(self) -> QuoteVerified | Noted:
        """The same where nothing is wrapped and something ends: a machine that is over is no reason to go on with it,
        nor is collateral that is older than what was seen.

        Raises what `verified` raises, but for what speaks of machine and collateral alone: that is told. Answers are
        still signed by the pinned broker's key; whether its enclave alone has that key, nobody knows then.
        """
        try:
            return self.verify()
        except Refusal as refusal:
            if refusal.code not in {*PLATFORM_REFUSALS, "freshness.collateral"}:
                raise
            return Noted(
                text=f"The broker's machine is refused ({refusal.code}). Nothing is sealed to it.", warning=True
            )

    def verified(self, *terms: TcbTerms) -> VerifiedBroker:
        """The pinned broker, with its quote verified now; its machine meets `terms`, too.

        Raises what `verify_broker` raises; `AppraisalError` (appraisal.pin) for another broker than the pinned one;
        `FreshnessError` when its log (freshness.state), its collateral (freshness.collateral) or the inventory that it
        shows (freshness.inventory) is older than what this party has seen.
        """
        settings = self._trust.trust_settings
        verified = describe_broker(
            self._party.endpoints,
            settings,
            self._trust.open_release(),
            rules_shown(self._party, settings, *terms),
            trust_floor(self._party),
            self._party.identity.signing_key,
            Learning(self._trust.broker.signing_public, self._party.remember_marks),
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

    @property
    def signed_reply(self) -> Signed:
        """The newest answer that `ask` returned, as the broker signed it."""
        return Signed.decode(self._answer)

    def _carry(self, raw: bytes) -> bytes:
        self._answer = self._via(raw)
        return self._answer
