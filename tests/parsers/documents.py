"""Parsers of texts: messages, policy files, key files, signed requests (side: library)."""

import os
import re
import tempfile
from pathlib import Path
from typing import Any, Final

from client.policy_file import parse_policy
from client.release_documents import ReleaseDocument
from common.crypto.key_file import Identity
from common.crypto.request_keys import MAC_BYTES
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.http_signatures import Target, verify_request
from common.identifiers import PartyKey
from common.messages.base import Message
from common.model_graph.reading import parse_design, parse_graph
from tests.parsers.parser import Parser
from tests.vectors.make_messages import FAMILIES
from tests.vectors.message_tables import CLASSES
from tests.vectors.vector_file import read_vectors

_DOCUMENTS: Final = Path(__file__).parents[2] / "docs"
_HTTP: Final = read_vectors("http/requests.json")
_KEYED: Final = read_vectors("http/request_keys.json")
_FIELDS: Final = ("content-digest", "signature-input", "signature")


def _messages(raw: bytes) -> bytes | None:
    """As every class in turn: whoever reads a class refuses the others'."""
    again = None
    for kind in CLASSES.values():
        named = kind.model_fields.get("type")
        if named is not None and str(named.default).encode() not in raw:
            continue
        try:
            read: Message = kind.decode(raw)
        except FormatError:
            continue
        again = read.encode()
        if kind.decode(again) != read:
            raise AssertionError(f"{kind.__name__} comes back as another")
    return again


def _policy(raw: bytes) -> None:
    parse_policy(raw.decode("utf-8", errors="surrogateescape"))


def _key_file(raw: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "identity.json")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(raw)
        identity = Identity.read(path)
        again = Path(place, "again.json")
        identity.write(again)
        return again.read_bytes()


def _release_document(raw: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "release.json")
        path.write_bytes(raw)
        document = ReleaseDocument.read(path)
        return document.signed.encode() if document.signatures else document.payload


def _http_request(raw: bytes) -> None:
    lines = raw.decode("latin-1").split("\n")
    headers = dict(zip(_FIELDS, lines, strict=False))
    verify_request(Target.of(_HTTP[0]["method"], _HTTP[0]["url"]), headers, _HTTP[0]["now"])


class _AnyKey:
    """Every request key is known, and has made whatever it is said to have made."""

    def verify(self, name: str, mac: bytes, signature_base: bytes, now: float) -> PartyKey:
        if not name.startswith("request_") or len(mac) != MAC_BYTES or name.encode() not in signature_base or not now:
            raise AssertionError("a request key is looked up for what has none of its form")
        return PartyKey(_KEYED[0]["party"])


def _keyed_request(raw: bytes) -> None:
    lines = raw.decode("latin-1").split("\n")
    headers = dict(zip(_FIELDS, lines, strict=False))
    verify_request(Target.of(_KEYED[0]["method"], _KEYED[0]["url"]), headers, _KEYED[0]["now"], _AnyKey())


def _golden() -> tuple[bytes, ...]:
    return tuple(one["encoded"].encode() for family in FAMILIES for one in read_vectors(f"messages/{family}.json"))


def _policies() -> tuple[bytes, ...]:
    examples = re.findall(r"```yaml\n(.*?)```", (_DOCUMENTS / "policy.md").read_text(), re.DOTALL)
    return tuple(text.encode() for text in examples)


def _key_files() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "identity.json")
        Identity.generate("seed", unsafe_simulation=True).write(path)
        return (path.read_bytes(),)


def _requests(vectors: list[dict[str, Any]]) -> tuple[bytes, ...]:
    return tuple("\n".join(one["headers"].get(name, "") for name in _FIELDS).encode() for one in vectors)


def _design(raw: bytes) -> bytes:
    return parse_design(raw)[0].encode()


def _graph(raw: bytes) -> bytes:
    return parse_graph(raw)[0].encode()


PARSERS: Final = (
    Parser("design", _design, tuple(raw for raw in _golden() if b'"type":"design"' in raw), canonical=False),
    Parser(
        "model-graph", _graph, tuple(raw for raw in _golden() if b'{"type":"model-graph"' in raw[:30]), canonical=False
    ),
    Parser("messages", _messages, _golden(), canonical=False),
    Parser("policy-file", _policy, _policies()),
    Parser("key-file", _key_file, _key_files(), canonical=False),
    Parser(
        "release-document",
        _release_document,
        tuple(raw for raw in _golden() if b'"type":"release' in raw or b'"payload_type":"release' in raw),
        (FormatError, AuthenticityError),
        canonical=False,
    ),
    Parser("http-signature", _http_request, _requests(_HTTP), (AuthenticityError, FreshnessError)),
    Parser("keyed-http-signature", _keyed_request, _requests(_KEYED), (AuthenticityError, FreshnessError)),
)
