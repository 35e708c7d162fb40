"""A session's beginning: the proof is verified, and the launch behind it opens a channel (side: owner: user's machine).

A fresh session key is wrapped to that launch alone, and the opening signed; nothing is sent before all checks of
client/query_verification have passed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from client.query_steps import Exchange, Get, Post, aside, patiently
from client.query_verification import Named, NamedModel, QueryPins, VerifiedEnclave, verify_query_enclave
from common.crypto.keys import SecretKey
from common.crypto.labels import SESSION_OPEN
from common.crypto.signing import SigningKey
from common.dcap.completion import CompleteEvidence, complete_evidence
from common.enclave.trust_settings import TrustSettings
from common.errors import AuthenticityError, refusal_of
from common.identifiers import SessionId
from common.messages.base import build_now
from common.messages.evidence import AllowedRoot, Collateral, Evidence
from common.messages.objects import ModelManifest
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.policy import QueryGrant
from common.messages.query import QueryProfile, SessionOpening, SessionReply
from common.messages.release import Release
from common.messages.serving import ServedModel, ServingRecord
from common.messages.signed import Signed
from common.query_sealing import (
    SessionCipher,
    open_reply,
    seal_opening,
    session_info,
    session_signed_parts,
    wrap_session_key,
)

build_now(Signed, QueryGrant, TrustSettings, AllowedRoot, Release, QueryEnclaveProof, Placement, ModelManifest)
build_now(SessionOpening, SessionReply)


def _keep_nothing(_: Collateral) -> None:
    """Of a user without a memory."""


@dataclass(frozen=True)
class QueryUser:
    """Who asks, under which grant, holding what fixed. The grant's payload is the owner's word; see the caller's duty
    in client/query_verification. `complete` brings collateral to a quote; `remember` keeps how new it was, once it was
    verified, and raises `FreshnessError` (freshness.collateral) for an older one than was seen. By a grant for a name,
    `records` gives what that stands for now, or `model` is one of its versions.
    """

    key: SigningKey
    grant: Signed
    pins: QueryPins
    complete: Callable[[Evidence], CompleteEvidence] = complete_evidence
    remember: Callable[[Collateral], None] = _keep_nothing
    records: Callable[[], ServingRecord] | None = None
    model: ServedModel | None = None

    @property
    def terms(self) -> QueryGrant:
        """What the grant says; its signatures are judged by the enclave."""
        return QueryGrant.decode(self.grant.payload)

    @property
    def named(self) -> Named:
        """What the enclave must serve."""
        terms, model = self.terms, self.model
        return terms if model is None else NamedModel(model.model_id, model.manifest, terms.broker, terms.release)


@dataclass(frozen=True)
class Channel:
    """A session that one launch has opened."""

    enclave: VerifiedEnclave
    cipher: SessionCipher
    profile: QueryProfile
    detail: Literal["label", "scores"]

    @property
    def route(self) -> str:
        """What is behind a path that leads to this launch, where there are several."""
        return route_to(self.enclave)


def route_to(enclave: VerifiedEnclave) -> str:
    """As `Channel.route`. The front is told which launch a session is of; if it leads elsewhere, nothing opens."""
    return f"?launch={enclave.placement.launch[:16]}"


def open_channel(
    user: QueryUser, path: str, now: Callable[[], float], verified: Callable[[], None]
) -> Exchange[Channel]:
    """A session with the launch that the proof at `path` is of; `verified` hears that it passed all checks.

    Raises what `verify_query_enclave` raises, and the enclave's refusal of the grant.
    """
    proof = yield from patiently(Get(f"{path}/proof"))
    enclave = yield from aside(lambda: _verified(user, QueryEnclaveProof.decode(proof), int(now())))
    verified()
    session_id, key = SessionId.new(), SecretKey.generate()
    opened = _opening(user, enclave, session_id, key)
    reply = open_reply(key, opened, (yield from patiently(Post(f"{path}/sessions{route_to(enclave)}", opened))))
    profile, detail = _granted(reply, session_id)
    return Channel(enclave, SessionCipher(key, session_id, enclave.manifest_digest), profile, detail)


def _verified(user: QueryUser, proof: QueryEnclaveProof, at: int) -> VerifiedEnclave:
    evidence = user.complete(proof.evidence)
    enclave = verify_query_enclave(proof.model_copy(update={"evidence": evidence}), user.named, user.pins, at)
    user.remember(evidence.collateral)
    return enclave


def _opening(user: QueryUser, enclave: VerifiedEnclave, session_id: SessionId, key: SecretKey) -> bytes:
    info = session_info(enclave.report_data, enclave.manifest_digest, enclave.placement_digest)
    wrapped = wrap_session_key(key, enclave.wrapping_public, info)
    parts = session_signed_parts(enclave.report_data, enclave.manifest_digest, session_id, user.grant.digest, wrapped)
    return seal_opening(
        key,
        wrapped,
        SessionOpening(
            session_id=session_id, user=user.key.party, grant=user.grant, signature=user.key.sign(SESSION_OPEN, *parts)
        ),
    )


def _granted(reply: SessionReply, session_id: SessionId) -> tuple[QueryProfile, Literal["label", "scores"]]:
    if reply.code is not None:
        raise refusal_of(reply.code, expected=reply.expected, seen=reply.seen)
    if reply.profile is None or reply.detail is None or reply.session_id != session_id:
        raise AuthenticityError("authenticity.query", expected=f"a reply about {session_id}")
    return reply.profile, reply.detail
