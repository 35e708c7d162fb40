"""Who gets a session, and what a session open message is bound to."""

import time

import pytest

from client.query_session import QuerySession, QueryUser
from common.crypto.keys import SecretKey
from common.crypto.labels import SESSION_OPEN
from common.crypto.signing import SigningKey
from common.errors import (
    AppraisalError,
    AuthenticityError,
    FormatError,
    FreshnessError,
    PolicyError,
    Refusal,
    refusal_of,
)
from common.identifiers import Digest, ModelId, SessionId
from common.messages.policy import QueryGrant
from common.messages.query import SESSION_OPEN_BYTES, SESSION_REPLY_BYTES, SessionOpening
from common.messages.signed import Signed, sign
from common.query_sealing import open_reply, seal_opening, session_info, session_signed_parts, wrap_session_key
from services.query_enclave import sessions
from tests.fakes.query_world import Launch, QueryWorld, rows_of


class Opener:
    """A user's side of the opening, with every part replaceable."""

    def __init__(self, world: QueryWorld, launch: Launch) -> None:
        self.world, self.launch = world, launch
        self.key, self.session_id, self.user, self.signer = (
            SecretKey.generate(),
            SessionId.new(),
            world.user,
            world.user,
        )
        self.report_data, self.manifest = launch.binding.report_data(), world.manifest.digest
        self.placement = launch.placement.digest

    def message(self, grant: Signed) -> bytes:
        """The session open message."""
        wrapped = wrap_session_key(
            self.key, self.launch.wrapping.public, session_info(self.report_data, self.manifest, self.placement)
        )
        parts = session_signed_parts(self.report_data, self.manifest, self.session_id, grant.digest, wrapped)
        return seal_opening(
            self.key,
            wrapped,
            SessionOpening(
                session_id=self.session_id,
                user=self.user.party,
                grant=grant,
                signature=self.signer.sign(SESSION_OPEN, *parts),
            ),
        )

    def open(self, grant: Signed) -> None:
        """Open; raises the refusal, public or sealed."""
        raw = self.message(grant)
        reply = open_reply(self.key, raw, self.launch.sessions.open(raw))
        if reply.code is not None:
            raise refusal_of(reply.code, expected=reply.expected, seen=reply.seen)


@pytest.fixture
def opener(world: QueryWorld) -> Opener:
    """An opener at a fresh launch."""
    return Opener(world, world.launch())


def test_granted(opener: Opener, world: QueryWorld) -> None:
    opener.open(world.grant())
    assert len(opener.launch.sessions) == 1


@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({"user": SigningKey.generate().party}, PolicyError, "policy.grant"),
        ({"model_id": ModelId("model_" + "0" * 32)}, AppraisalError, "appraisal.placement"),
        ({"manifest": Digest("1" * 64)}, AppraisalError, "appraisal.placement"),
        ({"broker": SigningKey.generate().party}, AppraisalError, "appraisal.placement"),
        ({"release": Digest("2" * 64)}, AppraisalError, "appraisal.placement"),
        ({"not_after": int(time.time()) - 1}, FreshnessError, "freshness.grant"),
    ],
)
def test_a_grant_for_something_else(
    opener: Opener, world: QueryWorld, changes: dict[str, object], kind: type[Refusal], code: str
) -> None:
    with pytest.raises(kind, match=code):
        opener.open(world.grant(**changes))
    assert len(opener.launch.sessions) == 0


def test_a_grant_that_its_user_signed_himself(opener: Opener, world: QueryWorld) -> None:
    forged = sign(QueryGrant.decode(world.grant().payload), world.user)
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        opener.open(forged)


def test_with_two_owners_both_must_sign(world: QueryWorld) -> None:
    second = SigningKey.generate()
    opener = Opener(world, world.launch(grant_authorities=(world.owner.party, second.party)))
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        opener.open(world.grant())
    opener.open(sign(QueryGrant.decode(world.grant().payload), world.owner, second))


def test_somebody_elses_grant_with_an_own_signature(opener: Opener, world: QueryWorld) -> None:
    opener.user = opener.signer = SigningKey.generate()
    with pytest.raises(PolicyError, match="policy.grant"):
        opener.open(world.grant())


def test_somebody_elses_name_with_an_own_signature(opener: Opener, world: QueryWorld) -> None:
    opener.signer = SigningKey.generate()
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        opener.open(world.grant())


@pytest.mark.parametrize(
    ("field", "value"), [("report_data", bytes(64)), ("manifest", Digest("3" * 64)), ("placement", Digest("4" * 64))]
)
def test_a_key_wrapped_for_another_launch_model_or_placement(
    opener: Opener, world: QueryWorld, field: str, value: object
) -> None:
    setattr(opener, field, value)
    with pytest.raises(AuthenticityError, match="authenticity.wrapped_key"):
        opener.open(world.grant())


def test_every_reply_has_one_size(opener: Opener, world: QueryWorld) -> None:
    good, bad = opener.message(world.grant()), opener.message(world.grant(not_after=1))
    assert {len(good), len(bad)} == {SESSION_OPEN_BYTES}
    assert {len(opener.launch.sessions.open(raw)) for raw in (good, bad)} == {SESSION_REPLY_BYTES}


@pytest.mark.parametrize("size", [0, 8, SESSION_OPEN_BYTES - 1, SESSION_OPEN_BYTES + 1])
def test_an_opening_of_another_size(opener: Opener, size: int) -> None:
    with pytest.raises(FormatError, match="format.query"):
        opener.launch.sessions.open(bytes(size))


def test_the_same_opening_again_keeps_the_session_and_its_counters(world: QueryWorld) -> None:
    launch = world.launch()
    session = world.session(launch)
    session.ask(rows_of(1))
    launch.sessions.open(launch.sent[0][1])
    assert launch.answering.answer(launch.sent[1][1]) == launch.received[1]
    assert launch.model.calls == 1


def test_an_id_is_never_used_twice(opener: Opener, world: QueryWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 2)
    first = opener.message(world.grant())
    opener.launch.sessions.open(first)
    with pytest.raises(FreshnessError, match="freshness.session"):
        opener.open(world.grant())
    for _ in range(2):
        Opener(world, opener.launch).open(world.grant())
    assert len(opener.launch.sessions) == 2
    reply = open_reply(opener.key, first, opener.launch.sessions.open(first))
    assert reply.code == "freshness.session"


def test_a_reply_is_bound_to_its_opening(opener: Opener, world: QueryWorld) -> None:
    first, second = opener.message(world.grant()), opener.message(world.grant())
    reply = opener.launch.sessions.open(first)
    with pytest.raises(AuthenticityError, match="authenticity.query"):
        open_reply(opener.key, second, reply)


def test_the_sdk_raises_what_the_enclave_sealed(world: QueryWorld) -> None:
    user = QueryUser(world.user, world.grant(not_after=int(time.time()) - 1), world.pins)
    with pytest.raises(FreshnessError, match="freshness.grant"):
        QuerySession.open(world.launch(), user)
