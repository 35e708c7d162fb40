import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from common.broker_channel import BrokerChannel, open_reply
from common.broker_verification import verify_broker
from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.dcap import NO_PLATFORM_RULES, intel_roots
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError, NotFoundError
from common.identifiers import JobId
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from common.messages.evidence import TrustLevel
from common.messages.jobs import ListMembers, Members
from common.messages.log_heads import LogHead
from common.messages.refusal_detail import Refused
from common.messages.release import Release
from common.messages.signed import Signed, open_signed, sign
from tests.fakes.broker_world import MEASUREMENTS, BrokerWorld

UNKNOWN = JobId("job_" + "0" * 32)


def describe_request() -> bytes:
    return BrokerRequest(nonce=secrets.token_bytes(32), body=DescribeBroker()).encode()


def wire(**changes: Any) -> bytes:
    return json.dumps(json.loads(describe_request()) | changes).encode()


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "format.message"),
        (b"{}", "format.message"),
        (b"\xff\xfe", "format.message"),
        (wire(version=2), "format.message"),
        (wire(extra=1), "format.message"),
        (wire(nonce="AAAA"), "format.message"),
        (wire(body={"type": "give-me-keys"}), "format.message"),
        (wire(body={"type": "list-members", "job_id": "job_1"}), "format.message"),
        (b" " * (MAX_MESSAGE_BYTES + 1), "format.too_large"),
    ],
)
def test_malformed_requests_get_a_signed_refusal(world: BrokerWorld, raw: bytes, code: str) -> None:
    answer = Signed.decode(world.handle(raw))
    reply = open_signed(answer, BrokerReply, [world.genesis.signing_public])
    assert (reply.request, reply.nonce, reply.body) == (sha256(raw), bytes(32), Refused(code=code))


def test_a_refusal_names_its_code_only(world: BrokerWorld) -> None:
    assert world.reply(ListMembers(job_id=UNKNOWN)).body == Refused(code="not_found.job")
    with pytest.raises(NotFoundError, match="not_found.job"):
        world.channel().ask(ListMembers(job_id=UNKNOWN), Members)


def test_heads_grow_with_decisions_and_only_with_them(world: BrokerWorld) -> None:
    first = world.head
    assert world.head == first
    world.register_data()
    second = world.head
    assert (second.size, second.epoch) == (first.size + 1, first.epoch)
    assert second.root != first.root


def test_no_reply_leaves_before_its_head_is_stored(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    settle, let, before = world.store.settle, threading.Event(), world.store.entry_count
    documents = [world.dataset_registration(world.seal_data()) for _ in range(3)]

    def stored_when_let() -> None:
        assert let.wait(10.0)
        settle()

    monkeypatch.setattr(world.store, "settle", stored_when_let)
    with ThreadPoolExecutor(len(documents)) as askers:
        replies = [askers.submit(world.reply, document) for document in documents]
        give_up = time.monotonic() + 10.0
        while world.context.state.log.size < before + 3:  # all are judged
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert world.store.entry_count == before
        assert not any(reply.done() for reply in replies)
        let.set()
        assert {reply.result(10.0).head.size for reply in replies} == {before + 1, before + 2, before + 3}
    assert world.store.entry_count == before + 3


class Meddler:
    """A host that may change what it carries."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world, self.replies = world, list[bytes]()

    def record(self, raw: bytes) -> bytes:
        self.replies.append(self.world.handle(raw))
        return self.replies[-1]

    def replay(self, _: bytes) -> bytes:
        return self.replies[0]

    def forge(self, raw: bytes) -> bytes:
        reply = BrokerReply.decode(Signed.decode(self.world.handle(raw)).payload)
        return sign(reply, SigningKey.generate()).encode()


def test_a_replayed_or_forged_reply_is_refused(world: BrokerWorld) -> None:
    host, broker = Meddler(world), world.genesis.signing_public
    BrokerChannel(host.record, broker).ask(DescribeBroker(), BrokerDescription)
    for ask in (host.replay, host.forge):
        with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):
            BrokerChannel(ask, broker).ask(DescribeBroker(), BrokerDescription)


def test_an_answer_of_another_kind_is_refused(world: BrokerWorld) -> None:
    with pytest.raises(FormatError, match="format.message"):
        world.channel().ask(DescribeBroker(), Members)


def test_a_channel_refuses_an_older_or_forked_head(world: BrokerWorld) -> None:
    old = world.store.copy()
    channel = BrokerChannel(world.handle, world.genesis.signing_public)
    world.register_data()
    world.register_data()
    channel.ask(DescribeBroker(), BrokerDescription)
    world.restart(old)
    with pytest.raises(FreshnessError, match="freshness.state"):
        channel.ask(DescribeBroker(), BrokerDescription)
    now = world.head
    fork = LogHead(size=now.size, root=world.genesis.digest, epoch=now.epoch)
    with pytest.raises(FreshnessError, match="freshness.state"):
        BrokerChannel(world.handle, world.genesis.signing_public, head=fork).ask(DescribeBroker(), BrokerDescription)


def test_a_channel_without_a_key_stays_with_the_first(world: BrokerWorld) -> None:
    channel = BrokerChannel(world.handle)
    channel.ask(DescribeBroker(), BrokerDescription)
    assert channel.broker == world.genesis.signing_public


def test_a_party_verifies_the_broker(world: BrokerWorld) -> None:
    request = describe_request()
    release = Release.decode(world.release.payload)
    verified = verify_broker(world.handle(request), request, world.trust, release, NO_PLATFORM_RULES, world.time)
    assert verified.genesis == world.genesis
    assert verified.claims.measurement == MEASUREMENTS["broker"]
    assert verified.head == world.head
    assert not verified.description.frozen


def test_a_party_refuses_any_other_broker(world: BrokerWorld) -> None:
    request, release = describe_request(), Release.decode(world.release.payload)
    raw = world.handle(request)
    with pytest.raises(AuthenticityError, match="authenticity.broker_reply"):  # another question
        verify_broker(raw, describe_request(), world.trust, release, NO_PLATFORM_RULES, world.time)
    other = Release.decode(world.sign_release(MEASUREMENTS | {"broker": MEASUREMENTS["query"]}).payload)
    with pytest.raises(AppraisalError, match="appraisal.measurement"):
        verify_broker(raw, request, world.trust, other, NO_PLATFORM_RULES, world.time)
    with pytest.raises(AppraisalError, match="appraisal.trust_level"):
        verify_broker(raw, request, world.trust, release, NO_PLATFORM_RULES, world.time, floor=TrustLevel.SGX)
    trust = world.trust.model_copy(update={"allowed_roots": intel_roots()})
    with pytest.raises(AppraisalError, match="appraisal.root"):
        verify_broker(raw, request, trust, release, NO_PLATFORM_RULES, world.time)


def test_a_genuine_quote_under_other_keys_is_refused(world: BrokerWorld) -> None:
    """The host lets the genuine broker quote, and puts a genesis of its own around the quote."""
    request, thief = describe_request(), SigningKey.generate()
    reply = open_reply(world.handle(request), request, world.genesis.signing_public)
    assert isinstance(reply.body, BrokerDescription)
    genesis = world.genesis.model_copy(update={"signing_public": thief.party})
    forged = reply.model_copy(update={"body": reply.body.model_copy(update={"genesis": genesis})})
    with pytest.raises(AppraisalError, match="appraisal.binding"):
        verify_broker(
            sign(forged, thief).encode(),
            request,
            world.trust,
            Release.decode(world.release.payload),
            NO_PLATFORM_RULES,
            world.time,
        )
