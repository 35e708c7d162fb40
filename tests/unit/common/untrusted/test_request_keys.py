"""A front's request keys: how they end, how many there are, and what a gate makes of requests under them."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Response
from fastapi.testclient import TestClient

from common.crypto.request_keys import RequestKey, RequestKeyShare
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FormatError, QuotaError, UnavailableError
from common.http_signatures import sign_request
from common.identifiers import PartyKey
from common.messages.request_keys import OfferRequestKey
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import answer_refusals
from common.untrusted.request_keys import RequestKeyRing

BASE = "http://testserver"
BASE_BYTES = b"a signature base"
NOW = 1_000_000.0
LASTS = 100


def agreed(ring: RequestKeyRing, party: PartyKey, now: float = NOW) -> RequestKey:
    share = RequestKeyShare.generate()
    told = ring.agree(party, OfferRequestKey(share=share.public), now)
    return share.agree_as_party(told.share, party, told.name)


def party() -> PartyKey:
    return SigningKey.generate().party


def test_a_key_names_the_party_that_agreed_on_it() -> None:
    ring, one, other = RequestKeyRing(), party(), party()
    keys = {of: agreed(ring, of) for of in (one, other)}
    for of, key in keys.items():
        assert ring.verify(key.name, key.sign_http(BASE_BYTES), BASE_BYTES, NOW) == of


def test_a_key_does_not_speak_for_another_party() -> None:
    ring = RequestKeyRing()
    mine, theirs = agreed(ring, party()), agreed(ring, party())
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        ring.verify(theirs.name, mine.sign_http(BASE_BYTES), BASE_BYTES, NOW)


def test_a_key_ends_by_time() -> None:
    ring = RequestKeyRing(seconds=LASTS)
    key = agreed(ring, party())
    mac = key.sign_http(BASE_BYTES)
    ring.verify(key.name, mac, BASE_BYTES, NOW + LASTS - 1)
    with pytest.raises(AuthenticityError, match=r"authenticity\.request_key"):
        ring.verify(key.name, mac, BASE_BYTES, NOW + LASTS)


def test_a_key_ends_by_count_and_forgeries_use_nothing_of_it() -> None:
    ring = RequestKeyRing(requests=2)
    key = agreed(ring, party())
    for _ in range(5):
        with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
            ring.verify(key.name, bytes(32), BASE_BYTES, NOW)
    for _ in range(2):
        ring.verify(key.name, key.sign_http(BASE_BYTES), BASE_BYTES, NOW)
    with pytest.raises(AuthenticityError, match=r"authenticity\.request_key"):
        ring.verify(key.name, key.sign_http(BASE_BYTES), BASE_BYTES, NOW)


def test_another_process_knows_none_of_them() -> None:
    key = agreed(RequestKeyRing(), party())
    with pytest.raises(AuthenticityError, match=r"authenticity\.request_key"):
        RequestKeyRing().verify(key.name, key.sign_http(BASE_BYTES), BASE_BYTES, NOW)


def test_a_partys_oldest_key_gives_way_and_nobody_elses() -> None:
    ring, one = RequestKeyRing(party_keys=2), party()
    other = agreed(ring, party())
    keys = [agreed(ring, one) for _ in range(3)]
    with pytest.raises(AuthenticityError, match=r"authenticity\.request_key"):
        ring.verify(keys[0].name, keys[0].sign_http(BASE_BYTES), BASE_BYTES, NOW)
    for key in (*keys[1:], other):
        ring.verify(key.name, key.sign_http(BASE_BYTES), BASE_BYTES, NOW)


def test_keys_are_bounded_in_all_until_some_have_ended() -> None:
    ring, one = RequestKeyRing(seconds=LASTS, party_keys=1, most_keys=2), party()
    agreed(ring, one), agreed(ring, party(), NOW + 1)
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        agreed(ring, party(), NOW + 2)
    agreed(ring, one, NOW + 3)  # in the place of its own
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        agreed(ring, party(), NOW + LASTS)
    agreed(ring, party(), NOW + LASTS + 1)


@pytest.mark.parametrize("share", [bytes(32), b"\x01" + bytes(31)])
def test_a_share_of_low_order_makes_no_key(share: bytes) -> None:
    ring = RequestKeyRing(most_keys=1)
    with pytest.raises(FormatError, match=r"format\.message"):
        ring.agree(party(), OfferRequestKey(share=share), NOW)
    agreed(ring, party())


class Members:
    def __init__(self, *parties: PartyKey) -> None:
        self.parties = set(parties)

    def is_enrolled(self, party: PartyKey) -> bool:
        return party in self.parties


class Service:
    """Two routes: one takes request keys, one does not."""

    def __init__(self) -> None:
        self.key, self.ring, self.at, self.charged = SigningKey.generate(), RequestKeyRing(seconds=LASTS), NOW, 0
        self.members = Members(self.key.party)
        gate = RequestGate(self.members, self._charge, now=lambda: self.at)
        app = FastAPI()
        answer_refusals(app)

        @app.post("/keyed")
        def keyed(request: Annotated[PartyRequest, Depends(gate.limited(10, request_keys=self.ring))]) -> Response:
            return Response(request.party)

        @app.post("/by_identity")
        def by_identity(request: Annotated[PartyRequest, Depends(gate.limited(10))]) -> Response:
            return Response(request.party)

        self.http = TestClient(app)

    def _charge(self, _party: PartyKey) -> None:
        if self.charged >= 3:
            raise QuotaError("quota.requests")
        self.charged += 1

    def signed(self, key: RequestKey | SigningKey, path: str = "/keyed", body: bytes = b"body") -> dict[str, str]:
        return sign_request(key, "POST", BASE + path, body, now=self.at)

    def send(self, headers: dict[str, str], path: str = "/keyed", body: bytes = b"body") -> tuple[int, str]:
        answer = self.http.post(BASE + path, content=body, headers=headers)
        return answer.status_code, answer.text if answer.status_code == 200 else answer.json()["code"]


@pytest.fixture
def service() -> Service:
    return Service()


def test_a_gate_admits_who_agreed_and_charges_him(service: Service) -> None:
    key = agreed(service.ring, service.key.party)
    for _ in range(3):
        assert service.send(service.signed(key)) == (200, service.key.party)
    assert service.charged == 3
    assert service.send(service.signed(key)) == (429, "quota.requests")
    assert service.send(service.signed(service.key)) == (429, "quota.requests")  # one allowance for both


def test_a_keyed_request_is_admitted_once(service: Service) -> None:
    headers = service.signed(agreed(service.ring, service.key.party))
    assert service.send(headers)[0] == 200
    assert service.send(headers) == (409, "freshness.request")
    assert service.charged == 1


def test_a_nonce_is_spent_by_the_party_whichever_key_signs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.http_signatures.secrets.token_bytes", bytes)
    assert service.send(service.signed(service.key))[0] == 200
    assert service.send(service.signed(agreed(service.ring, service.key.party))) == (409, "freshness.request")


def test_a_withdrawn_enrolment_ends_a_key_at_once(service: Service) -> None:
    key = agreed(service.ring, service.key.party)
    assert service.send(service.signed(key))[0] == 200
    service.members.parties.clear()
    assert service.send(service.signed(key)) == (403, "authenticity.http_signature")


def test_a_key_is_for_the_routes_that_take_it(service: Service) -> None:
    key = agreed(service.ring, service.key.party)
    assert service.send(service.signed(key, "/by_identity"), "/by_identity") == (403, "authenticity.http_signature")
    assert service.send(service.signed(key, "/by_identity"), "/keyed") == (403, "authenticity.http_signature")
    assert service.send(service.signed(service.key, "/by_identity"), "/by_identity")[0] == 200


def test_a_body_is_bounded_and_the_one_that_was_signed(service: Service) -> None:
    key = agreed(service.ring, service.key.party)
    assert service.send(service.signed(key), body=b"Body") == (403, "authenticity.http_signature")
    assert service.send(service.signed(key, body=bytes(11)), body=bytes(11)) == (413, "format.too_large")


def test_a_key_that_is_over_or_unknown_has_a_code_of_its_own(service: Service) -> None:
    key = agreed(service.ring, service.key.party)
    service.at += LASTS
    assert service.send(service.signed(key)) == (403, "authenticity.request_key")
    other = agreed(RequestKeyRing(), service.key.party)
    assert service.send(service.signed(other)) == (403, "authenticity.request_key")
