"""HTTP requests and orders from earlier, at the ingest service (side: owner)."""

import secrets
import time
from pathlib import Path
from typing import Any

from bench.rollback_tally import Tally
from common.crypto.signing import SigningKey
from common.errors import refusal_of
from common.http_signatures import sign_request
from common.identifiers import JobId
from common.messages.service import OrderReceipt, RefusalBody
from common.messages.signed import Signed
from services.ingest.submission import Submission
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.ingest_world import IngestWorld, PartyClient, register_bundle, register_dataset, signed_order


class _Recorded(PartyClient):
    """A party behind a host that keeps its requests."""

    def __init__(self, http: Any, key: SigningKey) -> None:
        super().__init__(http, key)
        self.carried: list[dict[str, Any]] = []

    def request(self, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
        url = self.base_url + path
        signed = sign_request(self.key, method, url, body) | headers
        self.carried.append({"method": method, "url": url, "content": body, "headers": signed})
        return self.http.request(**self.carried[-1])


def requests(directory: Path, length: int) -> Tally:
    """Each signed request of a busy party again; then the same at a service that was started anew on the same files."""
    broker, tally = BrokerWorld(directory / "broker"), Tally()
    world = IngestWorld(directory, broker)
    owner = Party()
    client = _Recorded(world.http, owner.key)
    client.enrol()
    register_dataset(broker, client, owner)
    for number in range(length):
        client.get(f"/v1/jobs?after={number}")
    _all_again(world, client, tally)
    world.http.close()
    while int(time.time()) <= _made_last(client):  # a request of the very second of a start may still be new
        time.sleep(0.05)
    world = IngestWorld(directory, broker)
    _all_again(world, client, tally)
    client.http = world.http
    if client.get("/v1/jobs").status_code != 200:
        raise RuntimeError("a new request was not taken")
    return tally


def _made_last(client: _Recorded) -> int:
    (made,) = client.carried[-1]["headers"]["signature-input"].split(";created=")[1:]
    return int(made.split(";")[0])


def _all_again(world: IngestWorld, client: _Recorded, tally: Tally) -> None:
    for request in client.carried:
        tally.refuses(f"{request['method']} {request['url']}", "freshness.request", _send, world, request)


def _send(world: IngestWorld, request: dict[str, Any]) -> None:
    answer = world.http.request(**request)
    if not answer.is_success:
        raise refusal_of(RefusalBody.decode(answer.content).code)


def orders(directory: Path, length: int) -> Tally:
    """Orders that were taken, from the queue again and by HTTP again, while their jobs run and after they ended: no
    second job. Orders that are over.
    """
    broker, tally = BrokerWorld(directory / "broker"), Tally()
    world = IngestWorld(directory, broker)
    owner, ingest = Party(), world.ingest
    submission = Submission(ingest.registry, ingest.board, world.route, on_accepted=lambda: None)  # the queue's way
    client = world.client(owner)
    bundle = register_bundle(broker, world.client(broker.provider), broker.provider)
    taken = list[Signed]()
    for _ in range(length):
        data = register_dataset(broker, client, owner)
        taken.append(signed_order(broker, data, bundle))
        OrderReceipt.decode(client.submit(taken[-1]).content)
        overdue = signed_order(broker, data, bundle, not_after=int(time.time()) - 1, nonce=secrets.token_bytes(16))
        tally.refuses("an overdue order", "freshness.order", submission.submit, overdue.encode())

    def state() -> object:
        return [(job.job_id, job.state) for job in ingest.board.jobs_of(owner.party)], broker.head

    for ended in (False, True):
        for number, order in enumerate(taken):
            what = f"order {number}, {'ended' if ended else 'running'}"
            if ended:
                client.post(f"/v1/jobs/{JobId.of(order.digest)}/cancel")
            tally.unmoved(f"{what}, from the queue", state, submission.submit, order.encode())
            tally.unmoved(f"{what}, by HTTP", state, client.submit, order)
    return tally
