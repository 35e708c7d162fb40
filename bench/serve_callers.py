"""Users of each contender: our SDK's sealing and signing, or a plain request (side: owner).

What a plain server is sent was encoded beforehand; what is sealed is sealed and signed when it is asked, opened and
compared when it is answered: the client's share of our path is part of what is measured.
"""

import base64
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, cycle
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.serve_http import Connection, Reply
from bench.serve_load import Caller
from client.broker import trust_floor
from client.context import Party
from client.http_client import OCTETS, ServiceClient
from client.platforms import platform_rules
from client.query_client import QueryClient
from client.query_exchange import QueryExchange
from client.query_session import QueryPins, QuerySession, QueryUser
from client.query_verification import verify_query_enclave
from client.request_keys import Carrying, FrontSigner
from common.bundle import TensorSpec
from common.crypto.aead import BLOB_OVERHEAD
from common.crypto.signing import SigningKey
from common.identifiers import SessionId
from common.messages.placement import QueryEnclaveProof
from common.messages.query import HEADER_BYTES, QUERY_MAGIC, Header, QueryProfile
from common.messages.query_tensors import Answer, decode_outcome, encode_question
from common.messages.signed import Signed

Rows = NDArray[np.generic]

BUSY: Final = (429, 503)
VERIFICATIONS: Final = 25
TOLERANCE: Final = 5e-2
"""Of two answers to one row, over its largest score: rows that share a batch are summed in another order, and bfloat16
rounds each sum (common/sandboxed/engine_choice)."""


class WrongAnswerError(Exception):
    """An answer, and not the one to this question."""


def encoded(row: Rows, encoding: str) -> bytes:
    """A row as a plain server takes it."""
    raw = row.tobytes()
    if encoding == "raw":
        return raw
    text = base64.b64encode(raw).decode()
    return json.dumps({"image": text} if encoding == "one" else {"images": [text]}).encode()


def media_type(encoding: str) -> str:
    """Of such a body."""
    return OCTETS if encoding == "raw" else "application/json"


class PlainUser:
    """Sends the same few rows in turn."""

    def __init__(self, connection: Connection, target: Mapping[str, Any], bodies: Sequence[bytes]) -> None:
        self._connection, self._path = connection, str(target["path"])
        self._headers = {"content-type": media_type(target["encoding"])}
        self._bodies = cycle(bodies)

    async def call(self) -> bool:
        """Whether it was answered."""
        return _answered(await self._connection.post(self._path, next(self._bodies), self._headers))


def _answered(reply: Reply) -> bool:
    if reply.status in BUSY:
        return False
    if reply.status != 200 or not reply.body:
        raise WrongAnswerError(reply.status)
    return True


class SealedSession(QuerySession):
    """The SDK's session, with its two halves apart: what is sent, and what came back."""

    def seal(self, rows: Rows) -> bytes:
        """The next query."""
        channel, exchange = self._channel, self._exchange
        if not isinstance(exchange, QueryExchange):
            raise TypeError("a benchmark asks one model")
        return channel.cipher.seal_query(next(exchange._counters), encode_question(rows, channel.profile))  # noqa: SLF001 - the SDK's own numbers

    def read(self, query: bytes, answer: bytes) -> Answer:
        """The answer to it. Raises what the enclave sealed for us."""
        return decode_outcome(self._channel.cipher.open_answer(query, answer), self._channel.profile)


class PlainSession:
    """The twin's: the same layouts at the same places, nothing sealed."""

    def __init__(self, profile: QueryProfile) -> None:
        self.profile, self._session, self._counters = profile, SessionId.new(), count()

    def seal(self, rows: Rows) -> bytes:
        """Header, question, and as many more bytes as sealing takes."""
        header = Header(self._session, next(self._counters)).encode(QUERY_MAGIC)
        return header + encode_question(rows, self.profile) + bytes(BLOB_OVERHEAD)

    def read(self, _query: bytes, answer: bytes) -> Answer:
        """The answer."""
        return decode_outcome(answer[HEADER_BYTES:-BLOB_OVERHEAD], self.profile)


class SigningUser:
    """One enrolled user with a session, who signs each request and compares each answer with the first to its row."""

    def __init__(
        self,
        connection: Connection,
        path: str,
        key: SigningKey,
        session: SealedSession | PlainSession,
        rows: Rows,
        known: dict[int, Rows],
    ) -> None:
        self._connection, self._path, self._session = connection, path, session
        self._signer = FrontSigner(f"http://{connection.authority}", key)
        self._rows, self._turn, self._known = rows, cycle(range(len(rows))), known

    async def call(self) -> bool:
        """Whether it was answered. Raises `WrongAnswerError` and what the enclave sealed for us."""
        number = next(self._turn)
        query = self._session.seal(self._rows[number : number + 1])
        reply = await self._send(query)
        if not _answered(reply):
            return False
        scores = self._session.read(query, reply.body).scores
        if scores is None or not is_answer(scores, self._known.setdefault(number, scores)):
            raise WrongAnswerError(number)
        return True

    async def _send(self, query: bytes) -> Reply:
        """As client/query_client does it."""
        carrying: Carrying[Reply] = self._signer.carry("POST", self._path, query)
        try:
            request = next(carrying)
            while True:
                request = carrying.send(await self._connection.post(request.path, request.body, request.headers))
        except StopIteration as done:
            reply: Reply = done.value
            return reply


def is_answer(scores: Rows, known: Rows) -> bool:
    """Whether these are the scores that are known. NumPy's own `allclose` takes as long as sealing."""
    if scores.shape != known.shape:
        return False
    return bool(np.abs(scores - known).max() <= TOLERANCE * np.abs(known).max())  # type: ignore[operator]  # of numbers


@dataclass(frozen=True)
class Sealed:
    """All that a user of a sealed model needs, from files that are its own alone."""

    party: Party
    grant: Signed

    @classmethod
    def of(cls, target: Mapping[str, Any]) -> "Sealed":
        """From the directory of an identity and the file of a grant."""
        return cls(Party(Path(target["party"])), Signed.decode(Path(target["grant"]).read_bytes()))

    @property
    def user(self) -> QueryUser:
        """As `client.user` makes it, with the machines that are known here."""
        trust = self.party.trust
        rules = platform_rules(self.party, trust.trust_settings)
        pins = QueryPins(trust.release, trust.trust_settings, trust_floor(self.party), rules)
        return QueryUser(self.party.identity.signing_key, self.grant, pins)

    def open(self) -> SealedSession:
        """A session of its own."""
        user = self.user
        return SealedSession.open(QueryClient(self.party.endpoints.query, user.key), user)

    def verification_ms(self) -> list[float]:
        """What verifying the enclave takes, again and again; the first time is the first contact of this process."""
        user = self.user
        client = ServiceClient(self.party.endpoints.query, user.key)
        raw = client.get(f"/v1/models/{user.terms.model_id}/proof")
        return [_milliseconds(lambda: _verify(raw, user)) for _ in range(VERIFICATIONS)]


def _verify(raw: bytes, user: QueryUser) -> None:
    verify_query_enclave(QueryEnclaveProof.decode(raw), user.terms, user.pins, int(time.time()))


def _milliseconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return round(1000 * (time.perf_counter() - begun), 2)


def make_callers(target: Mapping[str, Any]) -> tuple[list[Caller], dict[str, Any]]:
    """`target["users"]` users of what `target["kind"]` says, and facts about what they ask."""
    rows: Rows = np.load(target["rows"], allow_pickle=False)
    return _MAKERS[target["kind"]](target, rows)


def _plain(target: Mapping[str, Any], rows: Rows) -> tuple[list[Caller], dict[str, Any]]:
    bodies = [encoded(row, target["encoding"]) for row in rows]
    return [PlainUser(Connection(target["port"]), target, bodies) for _ in range(target["users"])], {}


def _twin(target: Mapping[str, Any], rows: Rows) -> tuple[list[Caller], dict[str, Any]]:
    key = Party(Path(target["party"])).identity.signing_key
    spec = TensorSpec(shape=rows.shape[1:], dtype="uint8")
    profile = QueryProfile(
        input=spec, answer=TensorSpec(shape=tuple(target["answer"]), dtype="float32"), max_rows=target["max_rows"]
    )
    path, known = f"/v1/models/{target['model_id']}/queries", dict[int, Rows]()
    sessions = [PlainSession(profile) for _ in range(target["users"])]
    return [SigningUser(Connection(target["port"]), path, key, one, rows, known) for one in sessions], {}


def _sealed(target: Mapping[str, Any], rows: Rows) -> tuple[list[Caller], dict[str, Any]]:
    sealed, known = Sealed.of(target), dict[int, Rows]()
    first, *verified = sealed.verification_ms()
    begun = time.perf_counter()
    sessions = [sealed.open() for _ in range(target["users"])]
    opened = 1000 * (time.perf_counter() - begun) / len(sessions)
    path, key = f"/v1/models/{sealed.user.terms.model_id}/queries", sealed.party.identity.signing_key
    enclave, profile = sessions[0].enclave, sessions[0].profile
    if profile.answered_by != "graph":
        raise RuntimeError("the model is answered by its provider's code")
    facts = {
        "verify_client_ms": first,
        "verify_client_again_ms": statistics.median(verified),
        "open_session_ms": round(opened, 1),
        "trust_level": str(enclave.trust_level),
        "placement": {"model_id": enclave.placement.model_id, "witnessed": enclave.placement.witnessed},
        "answered_by": profile.answered_by,
        "query_bytes": profile.query_bytes,
        "answer_bytes": profile.answer_bytes,
    }
    port = int(sealed.party.endpoints.query.rpartition(":")[2])
    return [SigningUser(Connection(port), path, key, one, rows, known) for one in sessions], facts


_MAKERS: Final[Mapping[str, Callable[[Mapping[str, Any], Rows], tuple[list[Caller], dict[str, Any]]]]] = {
    "plain": _plain,
    "twin": _twin,
    "sealed": _sealed,
}
