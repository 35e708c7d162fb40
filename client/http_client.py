"""Signed HTTP requests (RFC 9421) to one service; its refusals come back as our errors (side: owner)."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from common.crypto.signing import SigningKey
from common.errors import Refusal, UnavailableError, refusal_of
from common.http_signatures import sign_request
from common.json_text import read_json
from common.untrusted.http_session import HttpAnswer, HttpFailure, HttpSession

CONNECT_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 60.0
OCTETS: Final = "application/octet-stream"
TOO_MANY_REQUESTS: Final = 429
MAX_ANSWER_BYTES: Final = 64 << 20
"""More than any documented answer: the largest class of answers to queries is a row of `common/bundle` and some."""

PATIENT_TIMES: Final = 5
LONGEST_WAIT_SECONDS: Final = 5
"""How often a request is sent while the service says that it is over quota, and how long is waited in between."""


class ServiceClient:
    """One service at `base_url`. Requests are signed when a key is given.

    Raises the service's own `Refusal`; `UnavailableError` (unavailable.service) when it does not answer or answers
    something else than documented.
    """

    def __init__(
        self, base_url: str, key: SigningKey | None = None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._base_url, self._key, self._pause = base_url.rstrip("/"), key, pause
        self._http = HttpSession(connect_seconds=CONNECT_SECONDS, silence_seconds=SILENCE_SECONDS)

    def get(self, path: str) -> bytes:
        """The body of a successful answer."""
        return self._request("GET", path, b"", "")

    def post(self, path: str, body: bytes, media_type: str = OCTETS) -> bytes:
        """The body of a successful answer."""
        return self._request("POST", path, body, media_type)

    def put(self, path: str, body: bytes, media_type: str = OCTETS) -> bytes:
        """The body of a successful answer."""
        return self._request("PUT", path, body, media_type)

    def delete(self, path: str) -> bytes:
        """The body of a successful answer."""
        return self._request("DELETE", path, b"", "")

    def _request(self, method: str, path: str, body: bytes, media_type: str) -> bytes:
        """What is over this identity's quota of requests was not looked at, so it is sent again when there is room."""
        answer = self._send(method, path, body, media_type)
        for _ in range(PATIENT_TIMES - 1):
            if answer.status != TOO_MANY_REQUESTS:
                break
            self._pause(_seconds_to_wait(answer))
            answer = self._send(method, path, body, media_type)
        if answer.is_success:
            return answer.body
        raise _refusal(answer)

    def _send(self, method: str, path: str, body: bytes, media_type: str) -> HttpAnswer:
        headers = {"content-type": media_type} if body else {}
        if self._key is not None:
            headers |= sign_request(self._key, method, self._base_url + path, body)
        return self._exchange(method, path, body, headers)

    def _exchange(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        url = self._base_url + path
        try:
            return self._http.request(method, url, body, headers, max_bytes=MAX_ANSWER_BYTES)
        except HttpFailure as cause:
            raise UnavailableError(
                "unavailable.service", expected=f"an answer of {url}", seen=type(cause).__name__
            ) from cause


def _seconds_to_wait(answer: HttpAnswer) -> int:
    """What the service asks for, within reason: it is not trusted."""
    stated = answer.headers.get("retry-after", "")
    return min(int(stated), LONGEST_WAIT_SECONDS) if stated.isdecimal() else 1


def _refusal(answer: HttpAnswer) -> Refusal:
    try:
        code = read_json(answer.body)["code"]
    except (ValueError, KeyError, TypeError):
        return UnavailableError("unavailable.service", expected="a documented answer", seen=answer.status)
    return refusal_of(str(code))
