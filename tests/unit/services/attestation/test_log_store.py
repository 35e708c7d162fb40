"""What the host serves of the decision log: pages, proofs, heads, and each entry to whom it concerns."""

from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from common.crypto.merkle import leaf_hash
from common.crypto.merkle_proofs import verify_consistency, verify_inclusion
from common.crypto.signing import SigningKey
from common.errors import FormatError
from common.http_signatures import sign_request
from common.messages.broker_exchange import BrokerReply, BrokerRequest, RequestBody
from common.messages.decision_log import ConsistencyProof, InclusionProof, LogPage, NextHead
from common.messages.log_heads import AwaitHead, SignHead
from common.messages.signed import Signed, open_signed
from common.transparency import log_leaf, open_tree_head
from services.attestation import log_store
from services.attestation.log_routes import next_head
from services.attestation.log_store import LogStore
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.served_log import log_service

BASE = "http://testserver"


@pytest.fixture
def service(world: BrokerWorld) -> TestClient:
    for _ in range(5):
        world.register_data()
    world.register_bundle()
    return log_service(world)


def entries_for(service: TestClient, party: Party, path: str = "/v1/log/entries") -> LogPage:
    answer = service.get(path, headers=sign_request(party.key, "GET", BASE + path))
    return LogPage.decode(answer.content)


def test_inclusion_is_proven_under_the_signed_head(world: BrokerWorld, service: TestClient) -> None:
    head = open_tree_head(Signed.decode(service.get("/v1/log/head").content), world.genesis).head
    for number, entry in enumerate(world.store.entries):
        answer = service.get(f"/v1/log/inclusion?number={number}&size={head.size}").content
        proof = InclusionProof.decode(answer)
        verify_inclusion(leaf_hash(log_leaf(entry)), number, head.size, head.root, proof.path)


def test_consistency_is_proven_while_the_log_grows(world: BrokerWorld, service: TestClient) -> None:
    before = world.head
    world.register_data()
    world.restart()
    after = world.head
    answer = service.get(f"/v1/log/consistency?earlier={before.size}&size={after.size}").content
    proof = ConsistencyProof.decode(answer)
    verify_consistency(before.size, before.root, after.size, after.root, proof.path)


def asked_next(http: TestClient, key: SigningKey, body: RequestBody, raw: bytes | None = None) -> httpx.Response:
    path, content = "/v1/log/next", raw or BrokerRequest(nonce=bytes(32), body=body).encode()
    headers = sign_request(key, "POST", BASE + path, content)
    answer: httpx.Response = http.post(path, content=content, headers=headers)
    return answer


@pytest.fixture
def guarded(tmp_path: Path) -> BrokerWorld:
    """With a witness, whose word it does not wait for."""
    return BrokerWorld(tmp_path / "guarded", witnesses=1, quorum=0)


def test_the_next_head_comes_as_the_enclave_signed_it_with_its_proof(guarded: BrokerWorld) -> None:
    before, carried, handle = guarded.head, list[bytes](), guarded.handle
    guarded.handle = lambda raw: carried.append(handle(raw)) or carried[-1]  # type: ignore[method-assign,func-returns-value]
    guarded.register_data()
    guarded.register_data()
    after = guarded.head
    answer = NextHead.decode(
        asked_next(log_service(guarded), guarded.witnesses[0], AwaitHead(known=before.size)).content
    )
    assert answer.reply == carried[-1]
    reply = open_signed(Signed.decode(answer.reply), BrokerReply, [guarded.genesis.signing_public])
    assert (reply.head, reply.nonce, reply.body.type) == (after, bytes(32), "head-signed")
    assert answer.proof is not None
    verify_consistency(before.size, before.root, after.size, after.root, answer.proof.path)


@pytest.mark.parametrize("more", [0, 9])
def test_without_a_longer_log_there_is_no_proof(
    guarded: BrokerWorld, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    monkeypatch.setattr("services.attestation.key_broker.AWAIT_SECONDS", 0.01)
    asked = AwaitHead(known=guarded.head.size + more)
    answer = NextHead.decode(asked_next(log_service(guarded), guarded.witnesses[0], asked).content)
    assert answer.proof is None
    assert BrokerReply.decode(Signed.decode(answer.reply).payload).head == guarded.head


def test_of_an_empty_log_nothing_is_proven(guarded: BrokerWorld) -> None:
    answer = asked_next(log_service(guarded), guarded.witnesses[0], AwaitHead(known=0))
    assert NextHead.decode(answer.content).proof is None


def test_a_head_of_entries_that_are_not_stored_comes_without_proof(guarded: BrokerWorld) -> None:
    stored = guarded.store.copy()
    guarded.register_data()
    reply = guarded.handle(BrokerRequest(nonce=bytes(32), body=AwaitHead(known=1)).encode())
    assert next_head(LogStore(guarded.store), 1, reply).proof is not None
    assert next_head(LogStore(stored), 1, reply) == NextHead(reply=reply)


def test_who_may_not_wait_for_a_head_gets_none_and_nothing_else_is_asked_there(guarded: BrokerWorld) -> None:
    reached = list[bytes]()
    guarded.handle = lambda raw: reached.append(raw) or b""  # type: ignore[method-assign,func-returns-value]
    http, witness = log_service(guarded), guarded.witnesses[0]

    def refused(answer: httpx.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["code"]

    assert refused(asked_next(http, guarded.owner.key, AwaitHead(known=1))) == (403, "authenticity.http_role")
    assert refused(asked_next(http, witness, SignHead())) == (400, "format.message")
    assert refused(asked_next(http, witness, SignHead(), raw=b"{")) == (400, "format.message")
    unsigned = BrokerRequest(nonce=bytes(32), body=AwaitHead(known=1)).encode()
    assert refused(http.post("/v1/log/next", content=unsigned)) == (403, "authenticity.http_signature")
    assert reached == []


@pytest.mark.parametrize(
    "path",
    [
        "entries?first=99",
        "entries?first=-1",
        "entries?first=x",
        "inclusion?number=0&size=99",
        "inclusion?number=8&size=8",
        "inclusion?number=0",
        "consistency?earlier=5&size=4",
        "consistency?earlier=0&size=281474976710657",
    ],
)
def test_numbers_outside_the_log_are_refused(world: BrokerWorld, service: TestClient, path: str) -> None:
    headers = sign_request(world.owner.key, "GET", f"{BASE}/v1/log/{path}")
    answer = service.get(f"/v1/log/{path}", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "format.message")


def test_only_its_party_reads_an_entry(world: BrokerWorld, service: TestClient) -> None:
    def told(page: LogPage) -> list[int]:
        return [number for number, item in enumerate(page.items) if item.entry is not None]

    assert service.get("/v1/log/entries").status_code == 403
    assert told(entries_for(service, world.owner)) == [0, 1, 2, 3, 4, 5, 6]
    assert told(entries_for(service, world.provider)) == [0, 1, 7]
    assert told(entries_for(service, Party())) == [0, 1]


def test_a_signature_that_is_wrong_or_spent_reads_nothing(world: BrokerWorld, service: TestClient) -> None:
    path = "/v1/log/entries"
    headers = sign_request(world.owner.key, "GET", BASE + path)
    assert service.get(path + "?first=1", headers=headers).json()["code"] == "authenticity.http_signature"
    assert service.get(path, headers=headers).status_code == 200
    assert service.get(path, headers=headers).json()["code"] == "freshness.request"


def test_long_logs_come_in_pages(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(9):
        world.register_data()
    store, size = LogStore(world.store), world.store.entry_count
    monkeypatch.setattr(log_store, "PAGE_ITEMS", 4)
    first, last = store.page(0, None), store.page(8, None)
    assert (len(first.items), first.size, len(last.items)) == (4, size, size - 8)
    monkeypatch.setattr(log_store, "_PAGE_BYTES", 1)
    assert len(store.page(3, None).items) == 1
    assert store.page(size, None).items == ()
    with pytest.raises(FormatError):
        store.page(size + 1, None)
