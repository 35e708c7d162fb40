"""The way to the attestation service over HTTP (side: host).

It carries signed and wrapped bytes, and believes nothing of them.
"""

import logging
from typing import Final, Protocol

from common.crypto.signing import SigningKey
from common.errors import FormatError, Refusal, UnavailableError, refusal_of
from common.event_log import log_event
from common.http_signatures import sign_request
from common.messages.broker_exchange import BrokerReply, ReplyBody
from common.messages.refusal_detail import Refused
from common.messages.service import RefusalBody
from common.messages.signed import Signed
from common.untrusted.http_session import HttpFailure, HttpSession

_log = logging.getLogger("broker_client")

_CONNECT_SECONDS: Final = 3.0
_SILENCE_SECONDS: Final = 30.0
_OCTETS: Final = "application/octet-stream"


def reply_of(raw: bytes) -> ReplyBody:
    """What a broker's encoded reply says, unverified: the host only needs it for its own books.

    Raises the refusal that the broker answered, `UnavailableError` for what is no reply.
    """
    try:
        body = BrokerReply.decode(Signed.decode(raw).payload).body
    except FormatError as cause:
        raise UnavailableError("unavailable.broker", expected="a broker's reply") from cause
    if isinstance(body, Refused):
        raise refusal_of(body.code)
    return body


class BrokerRoute(Protocol):
    """The way to the key broker, as far as host services need it."""

    def ask(self, raw: bytes) -> bytes:
        """Carry one encoded BrokerRequest; the encoded Signed BrokerReply."""
        ...

    def release(self) -> Signed:
        """The signed release of this installation."""
        ...

    def is_ready(self) -> bool:
        """Whether it waits for nothing."""
        ...

    def close(self) -> None:
        """No more questions."""
        ...


class BrokerClient:
    """Asks the key broker. Requests are signed when the host has an identity. Thread-safe."""

    def __init__(self, attestation_url: str, key: SigningKey | None = None) -> None:
        self._url, self._key = attestation_url.rstrip("/"), key
        self._http = HttpSession(connect_seconds=_CONNECT_SECONDS, silence_seconds=_SILENCE_SECONDS)

    def ask(self, raw: bytes) -> bytes:
        """Carry one encoded BrokerRequest; the encoded Signed BrokerReply.

        Raises `UnavailableError` (unavailable.broker) when there is no answer, or the service's own refusal.
        """
        return self._request("POST", "/v1/broker", raw)

    def release(self) -> Signed:
        """The signed release of this installation."""
        return Signed.decode(self._request("GET", "/v1/release"))

    def is_ready(self) -> bool:
        """Whether the service says that it waits for nothing."""
        try:
            return self._http.request("GET", f"{self._url}/readyz", silence_seconds=_CONNECT_SECONDS).is_success
        except HttpFailure:
            return False

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        url = self._url + path
        headers = {"content-type": _OCTETS} if body else {}
        if self._key is not None:
            headers |= sign_request(self._key, method, url, body)
        try:
            answer = self._http.request(method, url, body, headers)
        except HttpFailure as cause:
            log_event(_log, "broker_unreachable", logging.WARNING, reason=type(cause).__name__)
            raise UnavailableError("unavailable.broker") from cause
        if not answer.is_success:
            raise _refusal(answer.body)
        return answer.body


def _refusal(body: bytes) -> Refusal:
    try:
        return refusal_of(RefusalBody.decode(body).code)
    except FormatError:
        return UnavailableError("unavailable.broker", expected="a documented answer")
