"""One user's sealed channel into this launch (side: enclave).

A session is opened by a message that is bound to this launch, model and placement; the same message again gets the
same reply. Each query is named by its counter: the same query again gets the answer that it got, from memory, and is
neither evaluated nor charged again; a counter below what is remembered, or one that named another query, is refused.
An id never names two sessions of one launch, also after the first was put out for want of room.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.crypto.labels import SESSION_OPEN
from common.crypto.signing import verify_signature
from common.crypto.wrapping import WrappingKey
from common.errors import FreshnessError, PolicyError, Refusal, UnavailableError
from common.identifiers import Digest, GrantId, SessionId
from common.messages.policy import QueryGrant
from common.messages.query import QueryProfile, SessionOpening, SessionReply
from common.messages.signed import Signed
from common.query_sealing import (
    SessionCipher,
    open_opening,
    seal_reply,
    session_info,
    session_signed_parts,
    unwrap_session_key,
)
from services.query_enclave.grants import Now, Placed, judge_grant

MAX_SESSIONS: Final = 1024
"""Sessions held at a time; the one that was used longest ago makes room for a new one."""

MAX_SPENT: Final = 1 << 18
"""Ids of put-out sessions that are remembered; then this launch opens no more (it is placed anew long before)."""

ANSWERS_KEPT: Final = 32
"""Answers that a session remembers for repetition."""

_TEXT_LIMIT: Final = 512


@dataclass
class _Kept:
    query: Digest
    answer: Future[bytes] = field(default_factory=Future)


class Session:
    """The channel of one user under one grant."""

    def __init__(self, cipher: SessionCipher, grant: Signed, terms: QueryGrant, opened: Digest) -> None:
        self.cipher, self.grant, self.terms, self.opened = cipher, grant, terms, opened
        self.grant_id = GrantId.of(grant.digest)
        self._lock = threading.Lock()
        self._kept: dict[int, _Kept] = {}
        self._floor = -1

    def claim(self, counter: int, query: Digest) -> tuple[Future[bytes], bool]:
        """The one answer to this query, and whether this is the first time that its counter is seen.

        Whoever is first sees to it that there will be an answer; all others wait for the same one.
        Raises `FreshnessError` (freshness.session) for a counter that is too old or that named another query.
        """
        with self._lock:
            kept = self._kept.get(counter)
            first = kept is None
            if kept is None:
                kept = self._remember(counter, query)
        if kept.query != query:
            raise FreshnessError("freshness.session", expected="a new counter for a new query", seen=counter)
        return kept.answer, first

    def _remember(self, counter: int, query: Digest) -> _Kept:
        if counter <= self._floor:
            raise FreshnessError("freshness.session", expected=f"a counter above {self._floor}", seen=counter)
        if len(self._kept) == ANSWERS_KEPT:
            self._floor = min(self._kept)
            del self._kept[self._floor]
        return self._kept.setdefault(counter, _Kept(query))


def require_timing(profile: QueryProfile) -> None:
    """Provider code chooses how long it takes, so its answers are padded; here and not in public, since whether a job's
    code could be exported to a graph is no host's to know.
    """
    if profile.answer_timing == "immediate" and profile.answered_by == "code":
        raise PolicyError("policy.answer_timing", expected="a graph that trusted code computes", seen="provider code")


class SessionTable:
    """All sessions of one launch, whose `wrapping` key the quote binds and whose model `placed` names."""

    def __init__(self, placed: Placed, wrapping: WrappingKey, profile: QueryProfile, now: Now) -> None:
        self._placed, self._wrapping, self._profile, self._now = placed, wrapping, profile, now
        self._info = session_info(placed.placement.report_data, placed.manifest, placed.document)
        self._lock = threading.Lock()
        self._sessions: OrderedDict[SessionId, Session] = OrderedDict()
        self._spent: set[SessionId] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, raw: bytes) -> bytes:
        """The sealed reply to a session open message, of one size whether it is granted or not.

        Raises `FormatError` or `AuthenticityError` when it is not for this launch: then there is no key to seal under.
        """
        key, wrapped = unwrap_session_key(raw, self._wrapping, self._info)
        try:
            reply = self._judge(key, wrapped, raw)
        except Refusal as refusal:
            reply = SessionReply(
                session_id=None, code=refusal.code, expected=_cut(refusal.expected), seen=_cut(refusal.seen)
            )
        return seal_reply(key, raw, reply)

    def find(self, session_id: SessionId) -> Session:
        """The live session of this id; else `FreshnessError` (freshness.session)."""
        with self._lock:
            session = self._sessions.get(session_id)
            if session is None:
                raise FreshnessError("freshness.session")
            self._sessions.move_to_end(session_id)
            return session

    def _judge(self, key: SecretKey, wrapped: bytes, raw: bytes) -> SessionReply:
        opening = open_opening(key, raw)
        placed = self._placed
        parts = session_signed_parts(
            placed.placement.report_data, placed.manifest, opening.session_id, opening.grant.digest, wrapped
        )
        verify_signature(opening.user, opening.signature, SESSION_OPEN, *parts)
        terms = judge_grant(opening.grant, opening.user, placed, self._now())
        require_timing(self._profile)
        self._add(
            opening, Session(SessionCipher(key, opening.session_id, placed.manifest), opening.grant, terms, sha256(raw))
        )
        return SessionReply(session_id=opening.session_id, profile=self._profile, detail=terms.detail)

    def _add(self, opening: SessionOpening, session: Session) -> None:
        name = opening.session_id
        with self._lock:
            known = self._sessions.get(name)
            if name in self._spent or (known is not None and known.opened != session.opened):
                raise FreshnessError("freshness.session", expected="a new session id", seen=name)
            if known is not None:
                return
            if len(self._spent) >= MAX_SPENT:
                raise UnavailableError("unavailable.full")
            if len(self._sessions) == MAX_SESSIONS:
                self._spent.add(self._sessions.popitem(last=False)[0])
            self._sessions[name] = session


def _cut(text: str | None) -> str | None:
    return text if text is None else text[:_TEXT_LIMIT]
