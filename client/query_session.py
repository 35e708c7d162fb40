"""A user's session with one query enclave (side: owner: the user's machine).

`QuerySession.open` asks for a proof, verifies it (client/query_verification), wraps a fresh session key to that launch
and signs the opening. `ask` seals rows and opens answers. A query that stays without an answer is sent again as the
very same bytes: the enclave evaluates and charges it once. One that the enclave could not charge, because the key
broker was away, is asked anew. When the enclave was started anew, its sessions are gone: the next proof is verified
like the first one, a new session opened and the question asked there. If the old launch had charged it already, it is
charged twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Final, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from client.query_verification import QueryPins, VerifiedEnclave, verify_query_enclave
from common.crypto.keys import SecretKey
from common.crypto.labels import SESSION_OPEN
from common.crypto.signing import SigningKey
from common.errors import (
    AuthenticityError,
    FormatError,
    FreshnessError,
    PolicyError,
    Refusal,
    UnavailableError,
    refusal_of,
)
from common.identifiers import SessionId
from common.messages.attestation import QueryEnclaveProof
from common.messages.policy import QueryGrant
from common.messages.query import QueryProfile, SessionOpening, SessionReply
from common.messages.query_tensors import Answer, decode_outcome, encode_question
from common.messages.signed import Signed
from common.query_sealing import (
    SessionCipher,
    open_reply,
    seal_opening,
    session_info,
    session_signed_parts,
    wrap_session_key,
)

__all__ = ["Answer", "QueryPins", "QuerySession", "QueryTransport", "VerifiedEnclave", "verify_query_enclave"]

ATTEMPTS: Final = 32
"""How often the same bytes are sent before the user hears that the service is not available."""

PAUSE_SECONDS: Final = 0.5
"""First pause before bytes are sent again; it doubles up to `LONGEST_PAUSE_SECONDS`."""

LONGEST_PAUSE_SECONDS: Final = 2.0

NOT_CHARGED: Final = frozenset({"unavailable.broker", "unavailable.frozen"})
"""Sealed refusals of a question for which the enclave could not draw from the grant's budget yet."""

T = TypeVar("T")


class QueryTransport(Protocol):
    """The way to the query service. Raises the service's `Refusal` by its code, `UnavailableError` when it is down."""

    def get(self, path: str) -> bytes:
        """The body of a signed GET."""
        ...

    def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer to a signed POST of `body` as application/octet-stream."""
        ...


@dataclass(frozen=True)
class QueryUser:
    """Who asks, under which grant, holding what fixed. The grant's payload is the owner's word; see the caller's duty
    in client/query_verification.
    """

    key: SigningKey
    grant: Signed
    pins: QueryPins

    @property
    def terms(self) -> QueryGrant:
        """What the grant says; its signatures are judged by the enclave."""
        return QueryGrant.decode(self.grant.payload)


@dataclass(frozen=True)
class _Channel:
    enclave: VerifiedEnclave
    cipher: SessionCipher
    profile: QueryProfile
    detail: Literal["label", "scores"]


class QuerySession:
    """Sealed questions and answers. Not for several threads at once: open a session for each."""

    def __init__(
        self, transport: QueryTransport, user: QueryUser, now: Callable[[], float], pause: Callable[[float], None]
    ) -> None:
        self._transport, self._user, self._now, self._pause = transport, user, now, pause
        self._path = f"/v1/models/{user.terms.model_id}"
        self._counters = count()
        self.quotes_verified = 0
        self._channel = self._connect()

    @classmethod
    def open(
        cls,
        transport: QueryTransport,
        user: QueryUser,
        *,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> Self:
        """Verify the enclave behind `transport` and open a session with it.

        Raises what `verify_query_enclave` raises, and the enclave's refusal of the grant.
        """
        return cls(transport, user, now, pause)

    @property
    def enclave(self) -> VerifiedEnclave:
        """The launch that this session talks to."""
        return self._channel.enclave

    @property
    def profile(self) -> QueryProfile:
        """Shape, type and number of rows that the model takes, and what it gives."""
        return self._channel.profile

    def ask(self, rows: NDArray[np.generic], wanted: int | None = None) -> Answer:
        """The model's answer to 1 to `profile.max_rows` rows, if the grant covers all that are `wanted`, with these.

        Raises `FormatError` (format.query) before anything is sent, or the refusal that the enclave sealed for us.
        """
        return self._repeat(lambda: self._ask_here_or_anew(rows, wanted), lambda refusal: refusal.code in NOT_CHARGED)

    def _ask_here_or_anew(self, rows: NDArray[np.generic], wanted: int | None) -> Answer:
        try:
            return self._ask(rows, wanted)
        except FreshnessError as refusal:
            if refusal.code != "freshness.session":
                raise
            self._channel = self._connect()
            return self._ask(rows, wanted)

    def ask_all(self, rows: NDArray[np.generic]) -> Answer:
        """The answers to any number of rows, in as many queries as it takes; costs one answer for each row.

        Raises `FormatError` (format.query) without rows, and `PolicyError` (policy.budget) if the grant does not cover
        all of them: then the enclave answers none, and none is charged.
        """
        step = self.profile.max_rows
        if rows.ndim == 0 or not len(rows):
            raise FormatError("format.query", expected="at least one row", seen=f"{rows.dtype} of shape {rows.shape}")
        granted = self._user.terms.answers
        if len(rows) > granted:  # before anything is sent
            raise PolicyError("policy.budget", expected=f"at most {granted} rows", seen=f"{len(rows)} rows")
        answers = [self.ask(rows[at : at + step], len(rows) - at) for at in range(0, len(rows), step)]
        scores = [one.scores for one in answers if one.scores is not None]
        return Answer(
            np.concatenate([one.labels for one in answers]),
            np.concatenate(scores) if scores else None,
            answers[-1].answers_left,
        )

    def _ask(self, rows: NDArray[np.generic], wanted: int | None) -> Answer:
        channel = self._channel
        query = channel.cipher.seal_query(next(self._counters), encode_question(rows, channel.profile, wanted))
        answer = self._post("/queries", query)
        if len(answer) != channel.profile.answer_bytes:
            raise AuthenticityError(
                "authenticity.query", expected=f"{channel.profile.answer_bytes} bytes", seen=len(answer)
            )
        return decode_outcome(channel.cipher.open_answer(query, answer), channel.profile)

    def _connect(self) -> _Channel:
        """A channel into a live launch: one that ended since its proof was made can't open our key, so ask again."""
        return self._repeat(self._connect_once, lambda refusal: refusal.code == "authenticity.wrapped_key")

    def _connect_once(self) -> _Channel:
        proof = QueryEnclaveProof.decode(self._patiently(lambda: self._transport.get(f"{self._path}/proof")))
        grant = self._user.terms
        enclave = verify_query_enclave(proof, grant, self._user.pins, int(self._now()))
        self.quotes_verified += 1
        session_id, key = SessionId.new(), SecretKey.generate()
        opened = self._opening(enclave, session_id, key)
        reply = open_reply(key, opened, self._post("/sessions", opened))
        profile, detail = _granted(reply, session_id)
        return _Channel(enclave, SessionCipher(key, session_id, enclave.manifest_digest), profile, detail)

    def _opening(self, enclave: VerifiedEnclave, session_id: SessionId, key: SecretKey) -> bytes:
        info = session_info(enclave.report_data, enclave.manifest_digest, enclave.placement_digest)
        wrapped = wrap_session_key(key, enclave.wrapping_public, info)
        parts = session_signed_parts(
            enclave.report_data, enclave.manifest_digest, session_id, self._user.grant.digest, wrapped
        )
        return seal_opening(
            key,
            wrapped,
            SessionOpening(
                session_id=session_id,
                user=self._user.key.party,
                grant=self._user.grant,
                signature=self._user.key.sign(SESSION_OPEN, *parts),
            ),
        )

    def _post(self, path: str, body: bytes) -> bytes:
        return self._patiently(lambda: self._transport.post(self._path + path, body))

    def _patiently(self, send: Callable[[], bytes]) -> bytes:
        return self._repeat(send, lambda refusal: isinstance(refusal, UnavailableError))

    def _repeat(self, action: Callable[[], T], will_pass: Callable[[Refusal], bool]) -> T:
        """What `action` gives, done again after each refusal that will pass, `ATTEMPTS` times in all."""
        pause = PAUSE_SECONDS
        for _ in range(ATTEMPTS - 1):
            try:
                return action()
            except Refusal as refusal:
                if not will_pass(refusal):
                    raise
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        return action()


def _granted(reply: SessionReply, session_id: SessionId) -> tuple[QueryProfile, Literal["label", "scores"]]:
    if reply.code is not None:
        raise refusal_of(reply.code, expected=reply.expected, seen=reply.seen)
    if reply.profile is None or reply.detail is None or reply.session_id != session_id:
        raise AuthenticityError("authenticity.query", expected=f"a reply about {session_id}")
    return reply.profile, reply.detail
