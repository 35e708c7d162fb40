"""Promise: a stranger gets nothing of the attestation service but what is open to all, and that within bounds.

The real application over a broker's core. Whatever is refused here never reaches the enclave, so a stranger fills no
state and drives out no challenge; and what one identity does too much is no other's loss.
"""

import secrets
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from common.crypto.key_file import Identity
from common.crypto.signing import SigningKey
from common.http_signatures import sign_request
from common.identifiers import DatasetId, JobId, RoleName
from common.messages.admission import Challenge, IssueChallenge
from common.messages.broker_exchange import BrokerReply, BrokerRequest, RequestBody
from common.messages.broker_identity import DescribeBroker
from common.messages.decision_log import LogPage
from common.messages.log_heads import AwaitHead, ConfirmHead, SignHead
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed
from common.messages.tokens import IssueToken
from common.untrusted.database import Database
from common.untrusted.registry import Registry
from services.attestation.app import build
from services.attestation.strangers import MAX_BODY_BYTES
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.http_services import CoreRelay
from tests.integration.ingest_service import attestation_settings, operator_identity, registry_url
from tests.vectors.sample_broker import request_bodies

BASE = "http://testserver"
BROKER, TOKENS, ENTRIES = "/v1/broker", "/v1/attestation-results", "/v1/log/entries"
NEXT = "/v1/log/next"
OPEN = ["/v1/release", "/v1/jwks.json", "/v1/log/head", "/v1/log/inclusion?number=0&size=1",
        "/v1/log/consistency?earlier=1&size=1"]  # fmt: skip


class CountingRelay(CoreRelay):
    """Counts what reaches the enclave."""

    def __init__(self, world: BrokerWorld) -> None:
        super().__init__(world)
        self.reached = 0

    def ask(self, raw: bytes) -> bytes:
        self.reached += 1
        return super().ask(raw)


class Site:
    """The service, its parties, and everything that one of them could send."""

    def __init__(self, directory: Path, **limits: Any) -> None:
        self.world = BrokerWorld(directory / "world", witnesses=1, quorum=0)
        self.relay = CountingRelay(self.world)
        witness = self.world.witnesses[0]
        settings = attestation_settings(directory, self.world, **limits).model_copy(
            update={"witnesses": (witness.party,)}
        )
        self.http = TestClient(build(settings, self.relay))  # type: ignore[arg-type]
        registry = Registry(Database(registry_url(directory)))
        registry.enrol(self.world.owner.party, 0)
        registry.enrol(self.world.provider.party, 0)
        self.owner, self.provider, self.witness = self.world.owner.key, self.world.provider.key, witness
        self.service = operator_key(directory)

    def send(self, key: SigningKey | None, method: str, path: str, body: bytes = b"") -> httpx.Response:
        headers = {} if key is None else sign_request(key, method, BASE + path, body)
        return self.answer(method, path, body, headers)

    def answer(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        answer: httpx.Response = self.http.request(method, path, content=body, headers=headers)
        return answer

    def ask(self, key: SigningKey | None, body: RequestBody) -> str:
        """What becomes of a request to the broker: the code of a refusal, the enclave's included, else the type."""
        answer = self.send(key, "POST", BROKER, encoded(body))
        if not answer.is_success:
            return str(answer.json()["code"])
        reply = BrokerReply.decode(Signed.decode(answer.content).payload).body
        return reply.code if isinstance(reply, Refused) else reply.type


def operator_key(directory: Path) -> SigningKey:
    return Identity.read(operator_identity(directory)).signing_key


def encoded(body: RequestBody) -> bytes:
    return BrokerRequest(nonce=secrets.token_bytes(32), body=body).encode()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


TOKEN = IssueToken(job_id=JobId("job_" + "0" * 32), launch=SigningKey.generate().party)
SIGNED = [("POST", BROKER, encoded(SignHead())), ("POST", TOKENS, encoded(TOKEN)), ("GET", ENTRIES, b"")]
AWAITED = ("POST", NEXT, encoded(AwaitHead(known=0)))


@pytest.mark.parametrize(("method", "path", "body"), [*SIGNED, AWAITED])
def test_what_is_to_be_signed_is_refused_without_an_enrolled_signature(
    site: Site, method: str, path: str, body: bytes
) -> None:
    before, refused = site.relay.reached, (403, "authenticity.http_signature")

    def outcome(headers: dict[str, str], content: bytes = body) -> tuple[int, str]:
        answer = site.answer(method, path, content, headers)
        return answer.status_code, answer.json()["code"]

    good = sign_request(site.owner, method, BASE + path, body)
    assert outcome({}) == refused
    assert outcome(sign_request(SigningKey.generate(), method, BASE + path, body)) == refused
    assert outcome(sign_request(site.owner, method, BASE + path + "?first=1", body)) == refused
    assert outcome(sign_request(site.owner, "PUT", BASE + path, body)) == refused
    assert outcome(sign_request(site.owner, method, "http://elsewhere" + path, body)) == refused
    assert (
        outcome({**good, "signature": sign_request(site.provider, method, BASE + path, body)["signature"]}) == refused
    )
    for left_out in good:
        assert outcome({name: value for name, value in good.items() if name != left_out}) == refused
    assert outcome(good, content=body + b" ") == refused
    stale = sign_request(site.owner, method, BASE + path, body, now=1)
    assert outcome(stale) == (409, "freshness.request")
    assert site.relay.reached == before


@pytest.mark.parametrize(("method", "path", "body"), SIGNED)
def test_a_request_that_was_recorded_is_no_second_one(site: Site, method: str, path: str, body: bytes) -> None:
    headers = sign_request(site.owner, method, BASE + path, body)
    assert site.answer(method, path, body, headers).status_code in {200, 404}  # there is no such job
    reached = site.relay.reached
    again = site.answer(method, path, body, headers)
    assert (again.status_code, again.json()["code"]) == (409, "freshness.request")
    assert site.relay.reached == reached


@pytest.mark.parametrize("body", request_bodies(), ids=lambda body: body.type)
def test_strangers_ask_the_broker_to_describe_itself_and_nothing_else(site: Site, body: RequestBody) -> None:
    before = site.relay.reached
    if isinstance(body, DescribeBroker):
        assert site.ask(None, body) == "broker-description"
    else:
        long = len(encoded(body)) > MAX_BODY_BYTES
        assert site.ask(None, body) == ("format.too_large" if long else "authenticity.http_signature")
        assert site.ask(SigningKey.generate(), body) == "authenticity.http_signature"
        assert site.relay.reached == before


def test_what_a_stranger_sends_is_short(site: Site) -> None:
    before = site.relay.reached
    for size, status in ((MAX_BODY_BYTES, 403), (MAX_BODY_BYTES + 1, 413)):
        assert site.send(None, "POST", BROKER, b" " * size).status_code == status
    assert site.relay.reached == before


def test_no_party_drives_out_challenges_or_speaks_for_a_witness(site: Site) -> None:
    job_id = site.world.start_job()
    challenge = IssueChallenge(role=RoleName("trainer"), job_id=job_id, slot=0)
    description = site.world.describe()
    confirmation = ConfirmHead(
        witness=site.witness.party, boot_nonce=description.boot_nonce, head=site.world.head, signature=bytes(64)
    )
    before = site.relay.reached
    for key in (site.owner, site.provider, site.witness):
        assert site.ask(key, challenge) == "authenticity.http_role"
    assert {site.ask(site.owner, one) for one in (confirmation, AwaitHead(known=0))} == {"authenticity.http_role"}
    refused = site.send(site.owner, "POST", NEXT, encoded(AwaitHead(known=0)))
    assert (refused.status_code, refused.json()["code"]) == (403, "authenticity.http_role")
    assert site.send(site.witness, "POST", NEXT, encoded(confirmation)).json()["code"] == "format.message"
    assert site.relay.reached == before
    assert site.ask(site.service, confirmation) == "authenticity.signature"  # a carrier's own word is none
    assert site.ask(site.service, challenge) == Challenge.model_fields["type"].default
    assert site.ask(site.witness, AwaitHead(known=0)) == "head-signed"
    assert {
        site.send(key, "POST", NEXT, encoded(AwaitHead(known=0))).status_code for key in (site.witness, site.service)
    } == {200}
    assert site.ask(site.witness, confirmation) == "authenticity.signature"  # HTTP's word is not the witness's


def test_what_is_no_request_the_enclave_refuses_itself(site: Site) -> None:
    answer = site.send(site.owner, "POST", BROKER, b"{")
    body = BrokerReply.decode(Signed.decode(answer.content).payload).body
    assert isinstance(body, Refused)
    assert body.code == "format.message"


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_is_open(site: Site, path: str) -> None:
    assert site.send(None, "GET", path).status_code == 200


def test_each_party_reads_its_own_entries(site: Site) -> None:
    data = site.world.register_data()
    told = {
        name: DatasetId(data.dataset_id).encode() in site.send(key, "GET", ENTRIES).content
        for name, key in (("owner", site.owner), ("provider", site.provider))
    }
    page = LogPage.decode(site.send(site.owner, "GET", ENTRIES).content)
    assert any(item.entry is not None and data.dataset_id.encode() in item.entry for item in page.items)
    assert not told["provider"]


def test_an_identity_over_its_quota_waits_and_nobody_else_does(tmp_path: Path) -> None:
    site = Site(tmp_path, requests_per_second=1.0, request_burst=5)
    path, outcomes = ENTRIES, [site.send(site.owner, "GET", ENTRIES) for _ in range(7)]
    assert [one.status_code for one in outcomes] == [200] * 5 + [429] * 2
    assert (outcomes[-1].json()["code"], outcomes[-1].headers["retry-after"]) == ("quota.requests", "1")
    reached = site.relay.reached
    for method, other, body in SIGNED:
        assert site.send(site.owner, method, other, body).status_code == 429
    assert site.relay.reached == reached
    assert site.send(site.provider, "GET", path).status_code == 200
    assert site.send(None, "GET", "/v1/log/head").status_code == 200
    assert {site.send(site.service, "GET", path).status_code for _ in range(20)} == {200}


def test_what_others_record_and_repeat_costs_a_party_nothing(tmp_path: Path) -> None:
    site = Site(tmp_path, requests_per_second=1.0, request_burst=3)
    headers = sign_request(site.owner, "GET", BASE + ENTRIES)
    assert site.answer("GET", ENTRIES, b"", headers).status_code == 200
    assert {site.answer("GET", ENTRIES, b"", headers).status_code for _ in range(20)} == {409}
    assert site.send(site.owner, "GET", ENTRIES).status_code == 200


def test_strangers_of_one_address_share_an_allowance_and_parties_do_not_need_it(tmp_path: Path) -> None:
    site = Site(tmp_path, open_requests_per_second=1.0, open_request_burst=len(OPEN))
    assert [site.send(None, "GET", path).status_code for path in OPEN] == [200] * len(OPEN)
    reached = site.relay.reached
    for path in OPEN:
        answer = site.send(None, "GET", path)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert site.ask(None, DescribeBroker()) == "quota.requests"
    assert site.relay.reached == reached
    assert site.ask(site.owner, DescribeBroker()) == "broker-description"
    assert [site.send(site.owner, "GET", path).status_code for path in OPEN] == [200] * len(OPEN)
    assert {site.send(SigningKey.generate(), "GET", path).status_code for path in OPEN} == {403}
    assert site.send(None, "GET", "/healthz").status_code == 200
