"""The query service with a real enclave process, sandbox, Redis and HTTP: from a grant to sealed answers."""

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from client.http_client import ServiceClient
from client.receipt_verification import ReceiptPins, verify_receipt_file
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FormatError, NotFoundError, PolicyError, Refusal
from common.messages.answer_bounds import AnswerBounds
from common.messages.query import SESSION_OPEN_BYTES
from common.sandbox.native import NativeQuerySandbox
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


def test_a_killed_enclave_is_placed_again_and_the_question_answered(service: QueryService) -> None:
    session = service.session()
    before = session.ask(images(2)).labels
    launches = len(service.relays)
    os.kill(service.relays[-1].pid, signal.SIGKILL)
    service.await_placed(launches + 1)
    np.testing.assert_array_equal(session.ask(images(2)).labels, before)
    assert session.quotes_verified == 2
