"""The SDK's way to a query front: a `QueryTransport` over HTTP (side: owner).

What concerns questions is signed as client/request_keys says, all else (proofs, sessions) by the identity's key.
"""

import re
import time
from collections.abc import Callable
from typing import Final

from client.http_client import ServiceClient
from client.request_keys import Carrying, FrontSigner, SignedRequest
from common.crypto.signing import SigningKey
from common.errors import UnavailableError
from common.messages.request_keys import REQUEST_KEYS_PATH
from common.untrusted.http_session import HttpAnswer

_QUESTIONS: Final = re.compile(r"/v1/models/[^/?]+/(?:queries|batches|submissions)(?:[/?].*)?")
"""Routes for which a front takes request keys (docs/formats.md, section 19)."""


_NO_KEY: Final = HttpAnswer(503, {}, b"")


class QueryClient(ServiceClient):
    """The query service at `base_url`. Several threads may use it at once. Raises what `ServiceClient` raises."""

    def __init__(self, base_url: str, key: SigningKey, *, pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__(base_url, key, pause=pause)
        self._signer = FrontSigner(base_url, key)

    def _send(self, method: str, path: str, body: bytes, media_type: str) -> HttpAnswer:
        if _QUESTIONS.fullmatch(path) is None:
            return super()._send(method, path, body, media_type)
        carrying: Carrying[HttpAnswer] = self._signer.carry(method, path, body)
        try:
            request = next(carrying)
            while True:
                request = carrying.send(self._answer(request))
        except StopIteration as done:
            answered: HttpAnswer = done.value
            return answered

    def _answer(self, request: SignedRequest) -> HttpAnswer:
        """What comes back; an offer may be lost on a way that knows no such path, and its question must not be."""
        try:
            return self._exchange(request.method, request.path, request.body, request.headers)
        except UnavailableError:
            if request.path != REQUEST_KEYS_PATH:
                raise
            return _NO_KEY
