"""How requests to a query front are signed: by an identity's key, and soon by a request key (side: owner).

No I/O: `FrontSigner.carry` is a generator that yields each `SignedRequest` to be sent, gets what was answered, and
returns the answer that counts. client/query_client performs it on a thread, bench/serve_callers on an event loop.

The first question is signed by the identity's key; with the second a share is offered, and what the front and this side
make of it signs the questions that follow (common/crypto/request_keys). A front that does not know the key, because it
was started anew or another stands behind the address, refuses before it looks at anything, so the same body is sent
once more: under a new key if none was offered lately, else signed by the identity's key. Where no key is to be had,
that signs all.
"""

import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from common.crypto.request_keys import RequestKey, RequestKeyShare
from common.crypto.signing import SigningKey
from common.errors import FormatError
from common.http_signatures import sign_request
from common.json_text import read_json
from common.messages.base import build_now
from common.messages.request_keys import REQUEST_KEYS_PATH, OfferRequestKey, RequestKeyAgreed

build_now(OfferRequestKey, RequestKeyAgreed)

OFFER_SECONDS: Final = 10.0
"""A share is offered no more often, whatever comes of it: several fronts behind one address, none of which knows
another's keys, cost an offer in so long."""

MARGIN: Final = 0.9
"""Of its time and number of requests a key is used for this part: the front counts from an earlier moment, and what was
answered to nobody."""

OCTETS: Final = "application/octet-stream"
_JSON: Final = "application/json"
_TRIES: Final = 3
"""Of one request: under the key that there is, under a new one, by the identity's."""

_NOT_BY_THIS_KEY: Final = frozenset({"authenticity.request_key", "authenticity.http_signature"})
"""A front does not know the key, or knows another by its name: somebody has put his share in place of the front's."""

LONGEST_SECONDS: Final = 3600
MOST_REQUESTS: Final = 1 << 20
"""Of a key, whatever is answered, which nobody has signed: what our own fronts say (common/untrusted/request_keys)."""

_FORBIDDEN: Final = 403


class Answered(Protocol):
    """What came back."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        ...

    @property
    def body(self) -> bytes:
        """Whole."""
        ...


A = TypeVar("A", bound=Answered)


@dataclass(frozen=True)
class SignedRequest:
    """A request to be sent as it is; `headers` are complete but for those that HTTP itself needs."""

    method: str
    path: str
    body: bytes
    headers: Mapping[str, str]


Carrying = Generator[SignedRequest, A, A]


@dataclass
class _Agreed:
    key: RequestKey
    until: float
    left: int


class FrontSigner:
    """Signs one party's requests to the front at `base_url`. Thread-safe."""

    def __init__(self, base_url: str, key: SigningKey, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._base_url, self._key, self._monotonic = base_url.rstrip("/"), key, monotonic
        self._lock = threading.Lock()
        self._agreed: _Agreed | None = None
        self._asked_before = False
        self._offer_at = 0.0

    def carry(self, method: str, path: str, body: bytes = b"") -> Carrying[A]:
        """The front's answer to this request about a question, whatever its status."""
        for _ in range(_TRIES - 1):
            key = self._usable() or (yield from self._agree())
            if key is None:
                break
            answer = yield self._signed(key, method, path, body)
            if not _is_not_by_this_key(answer):
                return answer
            self._forget(key)
        return (yield self._signed(self._key, method, path, body))

    def _signed(self, key: SigningKey | RequestKey, method: str, path: str, body: bytes) -> SignedRequest:
        headers = sign_request(key, method, self._base_url + path, body)
        return SignedRequest(method, path, body, {"content-type": OCTETS, **headers} if body else headers)

    def _usable(self) -> RequestKey | None:
        """The key, which one more request uses."""
        with self._lock:
            agreed = self._agreed
            if agreed is None:
                return None
            if agreed.left <= 0 or self._monotonic() >= agreed.until:
                self._agreed = None
                return None
            agreed.left -= 1
            return agreed.key

    def _agree(self) -> Generator[SignedRequest, A, RequestKey | None]:
        """A new key, if it is time for one and the front agrees."""
        with self._lock:
            at = self._monotonic()
            asked_before, self._asked_before = self._asked_before, True
            if not asked_before or at < self._offer_at:
                return None
            self._offer_at = at + OFFER_SECONDS
        share = RequestKeyShare.generate()
        offer = OfferRequestKey(share=share.public).encode()
        headers = sign_request(self._key, "POST", self._base_url + REQUEST_KEYS_PATH, offer)
        answer = yield SignedRequest("POST", REQUEST_KEYS_PATH, offer, {"content-type": _JSON, **headers})
        if answer.status != 200:  # an older front, one that is full, one that refuses us: the question will tell
            return None
        try:
            told = RequestKeyAgreed.decode(answer.body)
            key = share.agree_as_party(told.share, self._key.party, told.name)
        except FormatError:
            return None
        with self._lock:
            until = at + MARGIN * min(told.seconds, LONGEST_SECONDS)
            self._agreed = _Agreed(key, until, int(MARGIN * min(told.requests, MOST_REQUESTS)))
        return self._usable()

    def _forget(self, key: RequestKey) -> None:
        """The front takes nothing under it; another may have been agreed on meanwhile."""
        with self._lock:
            if self._agreed is not None and self._agreed.key is key:
                self._agreed = None


def _is_not_by_this_key(answer: Answered) -> bool:
    if answer.status != _FORBIDDEN:
        return False
    try:
        return read_json(answer.body)["code"] in _NOT_BY_THIS_KEY
    except (ValueError, KeyError, TypeError):
        return False
