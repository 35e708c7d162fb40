"""The request keys that one front has with its parties (side: host).

They live in this process's memory alone: another front behind the same address, or this one started anew, knows none
of them and says so (authenticity.request_key); whoever asked makes a new one, or signs by its identity. A key is good
for the party that signed the offer, for the routes whose gate is given this ring, and for a bounded time and number of
requests. Whether its party is enrolled is asked at each request all the same (http_identity).

A front is an untrusted relay. With these keys it can count requests to parties that did not send them, as it could
without, and it reads nothing by them: what is asked and answered is sealed beneath.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from common.crypto.request_keys import RequestKey, RequestKeyShare
from common.errors import AuthenticityError, UnavailableError
from common.identifiers import PartyKey, RequestKeyId
from common.messages.request_keys import OfferRequestKey, RequestKeyAgreed

KEY_SECONDS: Final = 3600
"""How long a key is good: so long that agreeing costs nothing beside what it saves, and a client that was copied while
it ran is not copied for good."""

KEY_REQUESTS: Final = 1 << 20
"""How many requests a key is good for: 290 a second for as long as it is good."""

PARTY_KEYS: Final = 64
"""Of one party: as many as it may have queries under way at a front (services/query_enclave/admission). The oldest
gives way to a further one."""

MOST_KEYS: Final = 1 << 15
"""Of all parties, in some 30 MB; beyond that no more are made until some have ended."""


@dataclass
class _Held:
    party: PartyKey
    key: RequestKey
    until: float
    left: int


class RequestKeyRing:
    """One front's. Use it on one event loop. Times are Unix seconds, by the clock of whoever calls."""

    def __init__(
        self,
        *,
        seconds: int = KEY_SECONDS,
        requests: int = KEY_REQUESTS,
        party_keys: int = PARTY_KEYS,
        most_keys: int = MOST_KEYS,
    ) -> None:
        self._seconds, self._requests, self._party_keys, self._most_keys = seconds, requests, party_keys, most_keys
        self._held: dict[str, _Held] = {}
        self._of: dict[PartyKey, deque[str]] = {}

    def agree(self, party: PartyKey, offer: OfferRequestKey, now: float) -> RequestKeyAgreed:
        """A new key with the party that has signed this offer with its identity's key.

        Raises `FormatError` (format.message) for a share that is none, `UnavailableError` (unavailable.full) when there
        are `most_keys`.
        """
        self._forget_ended(now)
        names = self._of.get(party, deque())
        if len(self._held) >= self._most_keys and len(names) < self._party_keys:
            raise UnavailableError("unavailable.full")
        share, name = RequestKeyShare.generate(), RequestKeyId.new()
        key = share.agree_as_front(offer.share, party, name)
        if len(names) >= self._party_keys:
            self._forget(names[0])
        self._held[name] = _Held(party, key, now + self._seconds, self._requests)
        self._of.setdefault(party, deque()).append(name)
        return RequestKeyAgreed(name=name, share=share.public, seconds=self._seconds, requests=self._requests)

    def verify(self, name: str, mac: bytes, signature_base: bytes, now: float) -> PartyKey:
        """As `RequestKeys.verify` (common/http_signatures).

        What somebody repeats is refused later and counts here, too: at most that ends the key.
        """
        held = self._held.get(name)
        if held is None or held.left <= 0 or now >= held.until:
            raise AuthenticityError("authenticity.request_key", expected="a request key of this front, while it lasts")
        held.key.verify_http(mac, signature_base)
        held.left -= 1
        return held.party

    def _forget_ended(self, now: float) -> None:
        """All last equally long, so those that have ended are the first."""
        while self._held:
            name = next(iter(self._held))
            if self._held[name].until > now:
                break
            self._forget(name)

    def _forget(self, name: str) -> None:
        party = self._held.pop(name).party
        names = self._of[party]
        names.remove(name)
        if not names:
            del self._of[party]
