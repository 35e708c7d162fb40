"""How a user's requests are signed: a key is agreed on with the second question, and its loss loses no question."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from client.query_client import QueryClient
from client.request_keys import LONGEST_SECONDS, OFFER_SECONDS, Carrying, FrontSigner, SignedRequest
from common.crypto.request_keys import RequestKeyShare
from common.crypto.signing import SigningKey
from common.errors import Refusal, UnavailableError
from common.http_signatures import Target, verify_request
from common.messages.request_keys import REQUEST_KEYS_PATH, OfferRequestKey, RequestKeyAgreed
from common.messages.service import RefusalBody
from common.untrusted.http_session import HttpAnswer
from common.untrusted.request_keys import RequestKeyRing

URL = "http://front.example:8080"
QUESTION = "/v1/models/model_x/queries"
NO_KEY = {"code": "not_found.path", "mender": "sender", "mend": "none"}


@dataclass
class Front:
    """A front's own rules over its own keys, by the user's clock."""

    now: Callable[[], float]
    ring: RequestKeyRing = field(default_factory=RequestKeyRing)
    offers_keys: bool = True
    seen: Counter[str] = field(default_factory=Counter)

    def answer(self, request: SignedRequest) -> HttpAnswer:
        offers = request.path == REQUEST_KEYS_PATH
        try:
            target = Target.of(request.method, URL + request.path)
            signed = verify_request(target, request.headers, self.now(), None if offers else self.ring)
            signed.require_content(request.body)
            if not offers:
                self.seen["keyed" if 'alg="hmac' in request.headers["signature-input"] else "identity"] += 1
                return HttpAnswer(200, {}, signed.party.encode())
            self.seen["offers"] += 1
            if not self.offers_keys:
                return HttpAnswer(404, {}, b'{"code":"not_found.path","mender":"sender","mend":"..."}')
            agreed = self.ring.agree(signed.party, OfferRequestKey.decode(request.body), self.now())
            return HttpAnswer(200, {}, agreed.encode())
        except Refusal as refusal:
            self.seen[refusal.code] += 1
            return HttpAnswer(refusal.http_status, {}, RefusalBody.of(refusal).encode())


class World:
    """One signer, a clock, and the fronts behind its address in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1_000_000.0
        monkeypatch.setattr("common.http_signatures.time.time", lambda: self.at)
        self.key = SigningKey.generate()
        self.signer = FrontSigner(URL, self.key, monotonic=lambda: self.at)
        self.fronts = [Front(lambda: self.at)]
        self.sent = 0

    def carry(self) -> HttpAnswer:
        return self.perform(self.signer.carry("POST", QUESTION, b"question"))

    def perform(self, carrying: Carrying[HttpAnswer]) -> HttpAnswer:
        try:
            request = next(carrying)
            while True:
                self.sent += 1
                request = carrying.send(self.fronts[self.sent % len(self.fronts)].answer(request))
        except StopIteration as done:
            answer: HttpAnswer = done.value
            return answer

    def ask(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.carry() == HttpAnswer(200, {}, self.key.party.encode())

    @property
    def seen(self) -> Counter[str]:
        return sum((front.seen for front in self.fronts), Counter[str]())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_who_asks_once_needs_no_key(world: World) -> None:
    world.ask()
    assert world.seen == {"identity": 1}


def test_a_key_is_agreed_on_once_and_signs_what_follows(world: World) -> None:
    world.ask(50)
    assert world.seen == {"identity": 1, "offers": 1, "keyed": 49}
    assert world.sent == 51


def test_a_front_that_was_started_anew_costs_one_request_and_no_question(world: World) -> None:
    world.ask(5)
    world.at += OFFER_SECONDS
    world.fronts = [Front(lambda: world.at)]
    world.ask(5)
    assert world.seen == {"authenticity.request_key": 1, "offers": 1, "keyed": 5}


def test_one_that_is_started_again_and_again_is_asked_by_identity_meanwhile(world: World) -> None:
    world.ask(3)
    for _ in range(3):
        world.fronts = [Front(lambda: world.at)]
        world.ask(3)
    assert world.seen == {"identity": 3}
    world.at += OFFER_SECONDS
    world.ask()
    assert world.seen == {"identity": 3, "offers": 1, "keyed": 1}


def test_fronts_that_know_none_of_each_others_keys(world: World) -> None:
    """Requests go to each in turn. Every question is answered, and offers are rare."""
    world.fronts.append(Front(lambda: world.at))
    for _ in range(40):
        world.ask()
        world.at += 1
    assert world.seen["keyed"] + world.seen["identity"] == 40
    assert world.seen["offers"] <= 40 / OFFER_SECONDS + 1


def test_a_front_that_agrees_on_no_key_is_asked_by_identity(world: World) -> None:
    world.fronts[0].offers_keys = False
    world.ask(10)
    assert world.seen == {"identity": 10, "offers": 1}
    world.at += OFFER_SECONDS
    world.ask()
    assert world.seen == {"identity": 11, "offers": 2}


@pytest.mark.parametrize("nonsense", [b"", b"{}", RefusalBody(**NO_KEY).encode()])
def test_an_answer_that_is_no_agreement_is_none(world: World, nonsense: bytes) -> None:
    world.ask()
    carrying: Carrying[HttpAnswer] = world.signer.carry("POST", QUESTION, b"question")
    assert next(carrying).path == REQUEST_KEYS_PATH
    request = carrying.send(HttpAnswer(200, {}, nonsense))
    assert 'alg="ed25519"' in request.headers["signature-input"]


def test_a_front_that_answers_by_another_share_is_asked_by_identity_in_the_end(world: World) -> None:
    """Whoever sits between the two hands over a share of his own: no question is signed for him, none is lost."""
    between = Front(lambda: world.at)
    world.ask()
    carrying: Carrying[HttpAnswer] = world.signer.carry("POST", QUESTION, b"question")
    request = carrying.send(between.answer(next(carrying)))
    assert 'alg="hmac-sha256"' in request.headers["signature-input"]
    answer = world.perform(_resumed(carrying, world.fronts[0].answer(request)))
    assert answer.status == 200
    assert world.seen == {"identity": 2, "authenticity.request_key": 1}


def test_a_share_put_in_place_of_the_fronts_under_its_own_name_loses_no_question(world: World) -> None:
    """The front knows a key of that name, and another one; the forged answer is to last for ever."""
    world.ask()
    carrying: Carrying[HttpAnswer] = world.signer.carry("POST", QUESTION, b"question")
    genuine = RequestKeyAgreed.decode(world.fronts[0].answer(next(carrying)).body)
    forged = genuine.model_copy(
        update={"share": RequestKeyShare.generate().public, "seconds": 1 << 40, "requests": 1 << 48}
    )
    request = carrying.send(HttpAnswer(200, {}, forged.encode()))
    assert 'alg="hmac-sha256"' in request.headers["signature-input"]
    assert world.perform(_resumed(carrying, world.fronts[0].answer(request))).status == 200
    assert world.seen == {"identity": 2, "offers": 1, "authenticity.http_signature": 1}
    world.ask(3)
    world.at += OFFER_SECONDS
    world.ask(3)
    assert world.seen["keyed"] == 3, "under a key that nobody touched"


def test_a_key_lasts_no_longer_than_our_own_fronts_say(world: World) -> None:
    world.fronts[0].ring = RequestKeyRing(seconds=1 << 30)
    world.ask(2)
    world.at += LONGEST_SECONDS
    world.ask()
    assert world.seen["offers"] == 2


def _resumed(carrying: Carrying[HttpAnswer], answer: HttpAnswer) -> Carrying[HttpAnswer]:
    """The rest of a carrying, after this answer."""
    try:
        request = carrying.send(answer)
        while True:
            request = carrying.send((yield request))
    except StopIteration as done:
        last: HttpAnswer = done.value
        return last


@pytest.mark.parametrize(("seconds", "requests"), [(100, 1 << 20), (3600, 10)])
def test_a_key_is_left_before_it_ends(world: World, seconds: int, requests: int) -> None:
    world.fronts[0].ring = RequestKeyRing(seconds=seconds, requests=requests)
    for _ in range(60):
        world.ask()
        world.at += 11
    assert world.seen["authenticity.request_key"] == 0
    assert world.seen["offers"] > 1
    assert world.seen["keyed"] == 59


def test_any_other_refusal_is_the_questions_own(world: World) -> None:
    world.ask(2)
    carrying: Carrying[HttpAnswer] = world.signer.carry("POST", QUESTION, b"question")
    next(carrying)
    refused = HttpAnswer(403, {}, b'{"code":"policy.budget","mender":"owner","mend":"..."}')
    with pytest.raises(StopIteration) as done:
        carrying.send(refused)
    assert done.value.value is refused


class Recorded(QueryClient):
    """Answers by a front of this process."""

    def __init__(self, key: SigningKey, front: Front) -> None:
        super().__init__(URL, key)
        self._front, self.sent = front, list[tuple[str, str]]()

    def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer:  # type: ignore[override]
        self.sent.append((path, headers["signature-input"].partition('alg="')[2].partition('"')[0]))
        return self._front.answer(SignedRequest(method, path, body, headers))


def test_an_offer_that_gets_lost_loses_no_question() -> None:
    key, front = SigningKey.generate(), Front(time.time)
    client, reached = Recorded(key, front), Recorded._exchange

    def lossy(method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer:
        if path == REQUEST_KEYS_PATH:
            raise UnavailableError("unavailable.service", expected=path)
        return reached(client, method, path, body, headers)

    client._exchange = lossy  # type: ignore[method-assign]
    for _ in range(4):
        assert client.post(QUESTION, b"question") == key.party.encode()
    assert front.seen == {"identity": 4}


def test_a_question_that_gets_lost_is_said_to_be() -> None:
    client = Recorded(SigningKey.generate(), Front(time.time))

    def lost(method: str, path: str, body: bytes, headers: dict[str, str]) -> HttpAnswer:
        raise UnavailableError("unavailable.service", expected=path, seen=(method, body, headers))

    client._exchange = lost  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        client.post(QUESTION, b"question")


def test_the_sdks_client_signs_questions_alone_by_request_keys() -> None:
    key = SigningKey.generate()
    client = Recorded(key, Front(time.time))
    questions = [QUESTION, QUESTION + "?launch=0123", "/v1/models/m/batches", "/v1/models/m/submissions"]
    for path in questions:
        assert client.post(path, b"question") == key.party.encode()
    assert client.get("/v1/models/m/submissions/query_1") == key.party.encode()
    others = ["/v1/models/m/proof", "/v1/models/m/sessions", "/v1/models/m/queriesx", "/v1/models/a/b/queries"]
    for path in others:
        client.post(path, b"other")
    signed = [one for one in client.sent if one[0] != REQUEST_KEYS_PATH]
    keyed = [*questions[1:], "/v1/models/m/submissions/query_1"]
    assert signed == [
        (QUESTION, "ed25519"),
        *((one, "hmac-sha256") for one in keyed),
        *((one, "ed25519") for one in others),
    ]
