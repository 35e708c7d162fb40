"""The query service with a real enclave process, sandbox, Redis and HTTP: from a grant to sealed answers."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from client.http_client import ServiceClient
from client.receipt_verification import ReceiptPins, verify_receipt_file
from common.crypto.request_keys import RequestKey, RequestKeyShare
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FormatError, NotFoundError, PolicyError, Refusal
from common.http_signatures import sign_request
from common.identifiers import PartyKey
from common.messages.answer_bounds import AnswerBounds
from common.messages.query import SESSION_OPEN_BYTES
from common.messages.request_keys import REQUEST_KEYS_PATH, OfferRequestKey, RequestKeyAgreed
from common.messages.service import RefusalBody
from common.sandbox.native import NativeQuerySandbox
from common.untrusted.http_session import HttpSession
from common.untrusted.request_keys import RequestKeyRing
from tests.conftest import Broker
from tests.fakes.query_service import QueryService


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_server: Broker) -> Iterator[QueryService]:
    """One running service for all tests of this file."""
    with QueryService(tmp_path_factory.mktemp("query_service"), redis_server.url).running() as running:
        yield running


def images(count: int) -> NDArray[np.uint8]:
    """`count` different images."""
    return np.arange(count * 64, dtype=np.uint8).reshape(count, 8, 8) % 17


def expected(service: QueryService, rows: NDArray[np.uint8]) -> NDArray[np.generic]:
    """What the same bundle and state answer without the service."""
    sandbox = NativeQuerySandbox.start(service.model.contents, service.model.state_P, seed=1)
    try:
        answer = sandbox.answer(rows, 20.0).answer_NA
    finally:
        sandbox.close()
    assert answer is not None
    return answer


def test_sealed_answers_are_the_models(service: QueryService) -> None:
    session = service.session()
    answer = session.ask_all(images(20))
    assert answer.scores is not None
    np.testing.assert_allclose(answer.scores[:16].astype(float), expected(service, images(16)).astype(float), rtol=1e-4)
    assert answer.answers_left == 80
    assert session.enclave.trust_level == "simulation"


def test_a_label_grant_tells_labels_alone(service: QueryService) -> None:
    session = service.session(service.world.grant(service.model.manifest, detail="label"))
    answer = session.ask(images(3))
    assert answer.scores is None
    assert answer.labels.shape == (3,)


def test_bounds_that_the_broker_hands_out_are_kept_and_receipts_stand(service: QueryService) -> None:
    """By the enclave's own measurement and clock, of what a grant lets be told."""
    bounds = AnswerBounds(top=2, decimals=1)
    session = service.session(service.world.grant(service.model.manifest, answer_bounds=bounds))
    book = session.receipt_book()
    answer = session.ask(images(3), book=book)
    assert answer.scores is not None
    assert ((answer.scores.astype(np.float64) > 0).sum(axis=1) <= 2).all()
    np.testing.assert_array_equal(answer.labels, expected(service, images(3)).argmax(axis=1))
    pins = ReceiptPins(service.pins, service.world.genesis.signing_public, user=service.world.user.party)
    verify_receipt_file(book.file, pins, book.openings("query"), book.openings("answer"))


def test_the_budget_is_the_brokers(service: QueryService) -> None:
    session = service.session(service.world.grant(service.model.manifest, answers=5))
    assert session.ask(images(4)).answers_left == 1
    with pytest.raises(PolicyError, match="policy.budget"):
        session.ask(images(2))


def test_a_grant_by_somebody_else_is_refused(service: QueryService) -> None:
    with pytest.raises(AuthenticityError, match="authenticity.signature"):
        service.session(service.world.grant(service.model.manifest, service.world.provider))


def test_a_revoked_grant_is_refused(service: QueryService) -> None:
    grant = service.world.grant(service.model.manifest)
    session = service.session(grant)
    service.world.revoke(service.world.owner, "grant", "grant_" + grant.digest[:32])
    with pytest.raises(PolicyError, match="policy.revoked"):
        session.ask(images(1))


@pytest.mark.parametrize("size", [0, 100, SESSION_OPEN_BYTES + 1])
def test_bodies_of_another_size_are_refused_by_the_front(service: QueryService, size: int) -> None:
    client = ServiceClient(service.url, service.world.user.key)
    for path in ("sessions", "queries"):
        with pytest.raises(FormatError) as caught:
            client.post(f"/v1/models/{service.model.model_id}/{path}", bytes(size))
        assert caught.value.code in ("format.query", "format.too_large")


@pytest.mark.parametrize(
    ("path", "kind", "code"),
    [
        (f"/v1/models/model_{'0' * 32}/proof", NotFoundError, "not_found.model"),
        ("/v1/models/nonsense/proof", FormatError, "format.identifier"),
    ],
)
def test_an_unknown_model_is_not_found(service: QueryService, path: str, kind: type[Refusal], code: str) -> None:
    with pytest.raises(kind, match=code):
        ServiceClient(service.url, service.world.user.key).get(path)


def test_who_is_not_enrolled_gets_nothing(service: QueryService) -> None:
    stranger = ServiceClient(service.url, SigningKey.generate())
    with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
        stranger.get(f"/v1/models/{service.model.model_id}/proof")
    with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
        stranger.post(f"/v1/models/{service.model.model_id}/queries", b"")


class CountingRing(RequestKeyRing):
    """How many keys it was asked for, and how many requests it has verified."""

    agreed, verified = 0, 0

    def agree(self, party: PartyKey, offer: OfferRequestKey, now: float) -> RequestKeyAgreed:
        self.agreed += 1
        return super().agree(party, offer, now)

    def verify(self, name: str, mac: bytes, signature_base: bytes, now: float) -> PartyKey:
        party = super().verify(name, mac, signature_base, now)
        self.verified += 1
        return party


def test_questions_are_signed_by_a_request_key_and_asked_once_whatever_becomes_of_it(service: QueryService) -> None:
    service.front.request_keys = ring = CountingRing()
    session = service.session(service.world.grant(service.model.manifest, answers=6))
    assert [session.ask(images(1)).answers_left for _ in range(3)] == [5, 4, 3]
    assert (ring.agreed, ring.verified) == (1, 2)
    service.front.request_keys = anew = CountingRing()  # as a front that was started anew has it
    assert [session.ask(images(1)).answers_left for _ in range(3)] == [2, 1, 0]
    assert (ring.verified, anew.agreed) == (2, 0)  # a share was offered lately: the identity signs


def test_a_request_key_is_for_questions_alone(service: QueryService) -> None:
    url, party, http = service.url, service.world.user.key, HttpSession(connect_seconds=5, silence_seconds=60)
    model, share = f"/v1/models/{service.model.model_id}", RequestKeyShare.generate()

    def send(key: SigningKey | RequestKey, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        answer = http.request(method, url + path, body, sign_request(key, method, url + path, body))
        return answer.status, answer.body

    def told(key: SigningKey | RequestKey, method: str, path: str, body: bytes = b"") -> str:
        return RefusalBody.decode(send(key, method, path, body)[1]).code

    offer = OfferRequestKey(share=share.public).encode()
    agreed = RequestKeyAgreed.decode(send(party, "POST", REQUEST_KEYS_PATH, offer)[1])
    key = share.agree_as_party(agreed.share, party.party, agreed.name)
    for path in ("queries", "batches", "submissions"):
        assert told(key, "POST", f"{model}/{path}", b"short") == "format.query"  # it was let in
    assert told(key, "GET", f"{model}/submissions/query_{'0' * 32}") == "not_found.answer"
    for method, path, body in (
        ("POST", f"{model}/sessions", bytes(SESSION_OPEN_BYTES)),
        ("GET", f"{model}/proof", b""),
        ("POST", REQUEST_KEYS_PATH, offer),  # else it would outlast itself
    ):
        assert told(key, method, path, body) == "authenticity.http_signature", path
    foreign = RequestKeyShare.generate().agree_as_party(agreed.share, party.party, agreed.name)
    assert told(foreign, "POST", f"{model}/queries", b"short") == "authenticity.http_signature"
    http.close()


def test_whoever_is_not_enrolled_agrees_on_no_request_key(service: QueryService) -> None:
    offer = OfferRequestKey(share=RequestKeyShare.generate().public).encode()
    with pytest.raises(AuthenticityError, match="authenticity.http_signature"):
        ServiceClient(service.url, SigningKey.generate()).post(REQUEST_KEYS_PATH, offer)
    with pytest.raises(FormatError, match="format.message"):
        ServiceClient(service.url, service.world.user.key).post(REQUEST_KEYS_PATH, offer.replace(b"share", b"other"))


def test_a_killed_enclave_is_placed_again_and_the_question_answered(service: QueryService) -> None:
    session = service.session()
    before = session.ask(images(2)).labels
    launches = len(service.relays)
    os.kill(service.relays[-1].pid, signal.SIGKILL)
    service.await_placed(launches + 1)
    np.testing.assert_array_equal(session.ask(images(2)).labels, before)
    assert session.quotes_verified == 2
