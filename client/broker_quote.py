"""A key broker's fresh quote, asked for and verified: by every party, and by witnesses (side: owner).

A quote of hardware carries no collateral. For one of those, also of a query enclave, it is asked of the service that
the broker stands behind, at `/v1/collateral/TEE/FMSPC/CA`; it is verified like any other.
"""

import contextlib
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final, Protocol

from common.broker_channel import NONCE_BYTES, open_reply
from common.broker_verification import VerifiedBroker, unverified_description, verify_broker
from common.dcap import PlatformRules
from common.dcap.collateral_authenticity import standing_marks
from common.dcap.collateral_name import name_of_quote
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError, AuthenticityError
from common.identifiers import PartyKey
from common.messages.broker_exchange import BrokerRequest
from common.messages.broker_identity import DescribeBroker
from common.messages.collateral import CollateralMark
from common.messages.evidence import Collateral, DcapQuote, Evidence, TrustLevel
from common.messages.release import Release
from common.messages.signed import Signed

BROKER_PATH: Final = "/v1/broker"

Learn = Callable[[Collection[CollateralMark]], None]


class Learner(Protocol):
    """Who remembers what revoked its broker's quote."""

    def hear(self, raw: bytes, request: bytes, marks: Collection[CollateralMark]) -> None:
        """A reply that was refused, and how new the documents were that stand without it."""


@dataclass(frozen=True)
class Learning:
    """A party that remembers it. Replies that `broker` has not signed teach nothing: else anybody
    who answers could set that memory forward, and have the broker's own collateral refused.
    """

    broker: PartyKey
    learn: Learn

    def hear(self, raw: bytes, request: bytes, marks: Collection[CollateralMark]) -> None:
        """A reply that was refused, and marks."""
        with contextlib.suppress(AuthenticityError):
            open_reply(raw, request, self.broker)
            self.learn(marks)


RulesOf = Callable[[Signed | None], PlatformRules]
"""What a verifier holds machines against, once a broker has shown it this inventory, or none. It may remember it."""


class Service(Protocol):
    """The attestation service over HTTP."""

    def get(self, path: str) -> bytes:
        """The body of a successful answer."""

    def post(self, path: str, body: bytes) -> bytes:
        """The body of a successful answer."""


def verified_broker(
    service: Service,
    trust: TrustSettings,
    release: Release,
    rules: RulesOf,
    at: int,
    *,
    floor: TrustLevel,
    learning: Learner | None = None,
) -> VerifiedBroker:
    """Ask the broker behind `service` for a quote over a fresh nonce, and verify it at time `at`.

    Where that is refused, `learning` hears how new the documents were that stand without the quote: they may be what
    revokes it. Raises what `rules` and `verify_broker` raise, and the service's refusal where it has no collateral for
    the quote.
    """
    request = BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=DescribeBroker()).encode()
    raw = service.post(BROKER_PATH, request)
    unverified = unverified_description(raw)
    collateral, shown = collateral_for(unverified.evidence, service), rules(unverified.inventory)
    try:
        return verify_broker(raw, request, trust, release, shown, at, floor=floor, collateral=collateral)
    except (AppraisalError, AuthenticityError):
        if learning is not None:
            learning.hear(raw, request, standing_marks(collateral, trust.allowed_roots, at))
        raise


def collateral_for(unverified: Evidence, service: Service) -> Collateral:
    """The quote's own, or what the service has for it. Raises `FormatError`, or the service's refusal."""
    return newest_collateral(unverified, service) if isinstance(unverified, DcapQuote) else unverified.collateral


def newest_collateral(unverified: Evidence, service: Service) -> Collateral:
    """What the service has for a quote, whatever the quote carries. Raises as `collateral_for`."""
    name = name_of_quote(unverified.quote)
    return Collateral.decode(service.get(f"/v1/collateral/{name.tee}/{name.fmspc}/{name.ca}"))
