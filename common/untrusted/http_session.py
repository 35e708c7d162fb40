"""HTTP requests to servers that are not believed (side: host, owner).

Redirects are not followed (a signature is for one address), nothing is sent twice, no proxy of the environment is
asked, and bodies are taken as they come and bounded: what is small on the wire and large in memory is refused.
"""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import certifi
import urllib3

from common.messages.base import MAX_MESSAGE_BYTES

MAX_ANSWER_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""The largest documented answer is one message in its signed form."""

CONNECTIONS: Final = 64
"""Kept open to each server: as many threads of one process ask at once, and more make theirs anew."""

_PIECE_BYTES: Final = 256 << 10
_NO_HEADERS: Final = MappingProxyType[str, str]({})

HttpFailure = urllib3.exceptions.HTTPError
"""No answer: refused, silent, broken off, not HTTP, or not the server that its certificate names."""


class HttpOversizeError(HttpFailure):
    """An answer that is larger, or came more slowly, than the asker takes."""


@dataclass(frozen=True)
class HttpAnswer:
    """A whole answer. `headers` finds names in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx (RFC 9110 section 15.3)."""
        return self.status // 100 == 2


class HttpSession:
    """Connections that are kept open. Thread-safe.

    `connect_seconds` and `silence_seconds` bound the wait for a connection and for the next byte. `ca_file`:
    certificates (PEM) to believe about TLS instead of the public ones; raises `OSError` (or `ssl.SSLError`, which is
    one) for a file that holds none.
    """

    def __init__(self, *, connect_seconds: float, silence_seconds: float, ca_file: Path | None = None) -> None:
        self._timeout = urllib3.Timeout(connect=connect_seconds, read=silence_seconds)
        self._ca_certs = certifi.where() if ca_file is None else None
        self._tls = None if ca_file is None else ssl.create_default_context(cafile=str(ca_file))
        self._servers: dict[tuple[str, str], urllib3.HTTPConnectionPool] = {}
        """By scheme, and host with port; a session asks few."""

    def request(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        headers: Mapping[str, str] = _NO_HEADERS,
        *,
        max_bytes: int = MAX_ANSWER_BYTES,
        until: float | None = None,
        silence_seconds: float | None = None,
    ) -> HttpAnswer:
        """The answer, whatever its status. `until` is a monotonic time. Raises `HttpFailure`."""
        asked, timeout = _split(url), self._timeout if silence_seconds is None else silence_seconds
        raw = self._server(asked.scheme, asked.netloc).urlopen(
            method,
            urlunsplit(("", "", asked.path or "/", asked.query, "")),
            redirect=False,
            timeout=timeout,
            body=body or None,
            headers=headers,
            preload_content=False,
        )
        try:
            answer = HttpAnswer(raw.status, raw.headers, _whole_body(raw, max_bytes, until))
        except BaseException:
            raw.close()  # the rest of it is still to come
            raise
        raw.release_conn()
        return answer

    def close(self) -> None:
        """Close its connections."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _server(self, scheme: str, place: str) -> urllib3.HTTPConnectionPool:
        """Found by what is written there: a `PoolManager` parses the address anew each time, and makes it a key."""
        known = self._servers.get((scheme, place))
        return known or self._servers.setdefault((scheme, place), self._connections(scheme, place))

    def _connections(self, scheme: str, place: str) -> urllib3.HTTPConnectionPool:
        bounds: dict[str, Any] = {"maxsize": CONNECTIONS, "retries": False, "timeout": self._timeout}
        if scheme == "https":
            bounds |= {"ca_certs": self._ca_certs, "ssl_context": self._tls}
        elif scheme != "http":
            raise urllib3.exceptions.URLSchemeUnknown(scheme)
        return urllib3.connection_from_url(f"{scheme}://{place}", **bounds)


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as cause:
        raise urllib3.exceptions.LocationParseError(url) from cause


def _whole_body(raw: urllib3.BaseHTTPResponse, max_bytes: int, until: float | None) -> bytes:
    body = bytearray()
    while piece := raw.read1(_PIECE_BYTES, decode_content=False):
        body += piece
        if len(body) > max_bytes or (until is not None and time.monotonic() > until):
            raise HttpOversizeError("an answer that is too large or too slow")
    if until is not None and time.monotonic() > until:
        raise HttpOversizeError("an answer that is too slow")
    return bytes(body)
