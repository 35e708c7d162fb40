"""Who may send a request: genuine, enrolled, once, bounded. And how refusals look."""

import json
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Response
from fastapi.testclient import TestClient

from common.crypto.signing import SigningKey
from common.errors import FreshnessError, UnavailableError
from common.http_signatures import WINDOW_SECONDS, sign_request
from common.identifiers import PartyKey
from common.messages.base import MAX_MESSAGE_BYTES
from common.untrusted import http_identity
from common.untrusted.http_identity import PartyRequest, ReplayGuard, RequestGate
from common.untrusted.http_refusals import answer_refusals

BASE = "http://testserver"
REMEMBERED_SECONDS = 60.0


class Members:
    def __init__(self) -> None:
        self.parties: set[PartyKey] = set()
        self.asked = 0

    def is_enrolled(self, party: PartyKey) -> bool:
        self.asked += 1
        return party in self.parties


class Clock:
    at = 1_000_000.0

    def __call__(self) -> float:
        return self.at


class Service:
    def __init__(self) -> None:
        self.key, self.clock, self.members = SigningKey.generate(), Clock(), Members()
        self.members.parties.add(self.key.party)
        gate = RequestGate(self.members, remembered_seconds=REMEMBERED_SECONDS, now=self.clock)
        app = FastAPI()
        answer_refusals(app)

        @app.post("/who")
        def who(request: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
            return Response(f"{request.party} {len(request.body)}")

        @app.post("/anybody")
        def anybody(request: Annotated[PartyRequest, Depends(gate.admit_anybody)]) -> Response:
            return Response(request.party)

        @app.post("/small")
        def small(request: Annotated[PartyRequest, Depends(gate.limited(10))]) -> Response:
            return Response(request.body)

        @app.get("/breaks")
        def breaks() -> Response:
            raise RuntimeError("secret text")

        self.http = TestClient(app, raise_server_exceptions=False)

    def post(self, path: str, body: bytes = b"body", key: SigningKey | None = None) -> tuple[int, str]:
        return self.send(path, body, sign_request(key or self.key, "POST", BASE + path, body, now=self.clock()))

    def send(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
        answer = self.http.post(BASE + path, content=body, headers=headers)
        return answer.status_code, answer.json()["code"] if answer.status_code != 200 else answer.text


@pytest.fixture
def service() -> Service:
    return Service()


def test_an_enrolled_party_is_admitted(service: Service) -> None:
    assert service.post("/who") == (200, f"{service.key.party} 4")
    assert service.post("/who?x=%20y") == (200, f"{service.key.party} 4")


def test_a_stranger_is_not_except_to_enrol(service: Service) -> None:
    stranger = SigningKey.generate()
    assert service.post("/who", key=stranger) == (403, "authenticity.http_signature")
    assert service.post("/anybody", key=stranger) == (200, stranger.party)


def test_an_enrolled_identity_is_remembered_for_a_while_and_a_stranger_never(service: Service) -> None:
    stranger = SigningKey.generate()
    assert [service.post("/who")[0] for _ in range(3)] == [200] * 3
    assert service.members.asked == 1
    service.clock.at += REMEMBERED_SECONDS
    service.members.parties = {stranger.party}
    assert service.post("/who") == (403, "authenticity.http_signature")  # withdrawn, and asked about again
    service.members.parties.clear()
    assert service.post("/who", key=stranger) == (403, "authenticity.http_signature")
    service.members.parties.add(stranger.party)
    assert service.post("/who", key=stranger)[0] == 200  # from the moment of its enrolment


def test_nobody_is_remembered_unless_that_is_asked_for(service: Service) -> None:
    gate = RequestGate(service.members, now=service.clock)
    app = FastAPI()
    answer_refusals(app)

    @app.post("/who")
    def who(request: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        return Response(request.party)

    service.http = TestClient(app)
    assert service.post("/who") == (200, service.key.party)
    service.members.parties.clear()
    assert service.post("/who") == (403, "authenticity.http_signature")


def test_an_unsigned_request_is_not(service: Service) -> None:
    assert service.send("/who", b"body", {}) == (403, "authenticity.http_signature")
    assert service.send("/anybody", b"body", {}) == (403, "authenticity.http_signature")


def test_a_signature_is_for_one_body_path_and_moment(service: Service) -> None:
    headers = sign_request(service.key, "POST", BASE + "/who", b"body", now=service.clock())
    assert service.send("/who", b"Body", headers) == (403, "authenticity.http_signature")
    headers = sign_request(service.key, "POST", BASE + "/who", b"body", now=service.clock())
    assert service.send("/small", b"body", headers) == (403, "authenticity.http_signature")
    service.clock.at += WINDOW_SECONDS + 1
    assert service.send("/who", b"body", headers) == (409, "freshness.request")


def test_a_request_is_admitted_once(service: Service) -> None:
    headers = sign_request(service.key, "POST", BASE + "/who", b"body", now=service.clock())
    assert service.send("/who", b"body", headers)[0] == 200
    for _ in range(2):
        assert service.send("/who", b"body", headers) == (409, "freshness.request")
        service.clock.at += WINDOW_SECONDS - 2  # at its very end it is still remembered, or too old


def test_a_restarted_service_refuses_what_its_predecessor_may_have_admitted() -> None:
    clock = Clock()
    guard = ReplayGuard(now=clock)
    with pytest.raises(FreshnessError, match="freshness.request"):
        guard.spend(SigningKey.generate().party, "nonce", int(clock.at) - 1)
    guard.spend(SigningKey.generate().party, "nonce", int(clock.at))


def test_bodies_are_bounded(service: Service) -> None:
    assert service.post("/small", bytes(10))[0] == 200
    assert service.post("/small", bytes(11)) == (413, "format.too_large")
    assert service.post("/who", bytes(MAX_MESSAGE_BYTES))[0] == 200
    assert service.post("/who", bytes(MAX_MESSAGE_BYTES + 1)) == (413, "format.too_large")


def test_a_body_without_stated_length_is_bounded_too(service: Service) -> None:
    body = bytes(11)
    headers = sign_request(service.key, "POST", BASE + "/small", body, now=service.clock())
    answer = service.http.post(BASE + "/small", content=iter([body[:6], body[6:]]), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "format.too_large")


def test_what_is_unforeseen_says_nothing(service: Service) -> None:
    answer = service.http.get(BASE + "/breaks")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert set(json.loads(answer.text)) == {"code", "mender", "mend"}


def test_unknown_paths_and_methods_are_refusals(service: Service) -> None:
    for answer in (service.http.get(BASE + "/nothing"), service.http.delete(BASE + "/who")):
        assert answer.status_code in {404, 405}
        assert set(answer.json()) == {"code", "mender", "mend"}


def test_nonces_are_forgotten_when_their_requests_are_stale_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what is remembered is bounded by what is fresh, whatever its time of making within the window."""
    monkeypatch.setattr(http_identity, "MAX_REMEMBERED", 40)
    clock, party = Clock(), SigningKey.generate().party
    guard = ReplayGuard(now=clock)
    begin = int(clock.at)
    for number in range(40):
        guard.spend(party, f"nonce {number}", begin + number * WINDOW_SECONDS // 40)
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        guard.spend(party, "one more", begin)
    for seconds in (1, WINDOW_SECONDS // 2, WINDOW_SECONDS):
        clock.at = begin + seconds
        with pytest.raises(FreshnessError, match=r"freshness\.request"):
            guard.spend(party, "nonce 39", begin + 39 * WINDOW_SECONDS // 40)
    clock.at = begin + 1.5 * WINDOW_SECONDS
    guard.spend(party, "one more", int(clock.at))
    with pytest.raises(FreshnessError, match=r"freshness\.request"):
        guard.spend(party, "one more", int(clock.at))
    guard.spend(SigningKey.generate().party, "one more", int(clock.at))
