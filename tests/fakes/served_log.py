"""The HTTP routes of the decision log over a broker in this process, with the real router (side: library).

What a hostile host would serve instead, a test does with `LogFiles`.
"""

from typing import Final

import httpx
from fastapi.concurrency import run_in_threadpool
from fastapi.testclient import TestClient

from common.crypto.signing import SigningKey
from common.errors import refusal_of
from common.http_signatures import sign_request
from common.identifiers import PartyKey
from common.untrusted.carried import ByteCount
from common.untrusted.http_description import Service
from common.untrusted.http_identity import RequestGate
from common.untrusted.request_quota import RequestQuota
from services.attestation.callers import Callers
from services.attestation.log_routes import add_next_head_route, log_router
from services.attestation.log_store import LogStore
from services.attestation.strangers import Strangers
from tests.fakes.broker_world import BrokerWorld

BASE: Final = "http://testserver"


class LogFiles:
    """The stored entries of whatever broker the world runs now."""

    def __init__(self, world: BrokerWorld) -> None:
        self._world = world

    @property
    def entry_count(self) -> int:
        return self._world.store.entry_count

    def read_entry(self, number: int) -> bytes:
        return self._world.store.read_entry(number)


class AllEnrolled:
    """A registry in which everybody is enrolled."""

    def is_enrolled(self, party: PartyKey) -> bool:  # noqa: ARG002
        return True


def log_service(world: BrokerWorld) -> TestClient:
    """A service that has just started: it has read nothing of the log yet."""
    gate, quota = RequestGate(AllEnrolled()), RequestQuota(1000, 1000)
    callers, strangers = Callers(AllEnrolled(), quota, witnesses=world.genesis.witnesses), Strangers(quota, gate)
    app, store = Service("log"), LogStore(LogFiles(world))

    async def carry(raw: bytes) -> bytes:
        return await run_in_threadpool(world.handle, raw)

    add_next_head_route(app, ByteCount(), carry, store, gate, callers)
    app.include_router(log_router(world.handle, store, gate, strangers))
    return TestClient(app)


def get_log(world: BrokerWorld, path: str) -> bytes:
    """The body of a successful answer. Raises the refusal."""
    return _body(log_service(world).get(path))


def post_log(world: BrokerWorld, key: SigningKey, path: str, body: bytes) -> bytes:
    """As `get_log`, of a request that this key signs."""
    headers = sign_request(key, "POST", BASE + path, body)
    return _body(log_service(world).post(path, content=body, headers=headers))


def _body(answer: httpx.Response) -> bytes:
    if answer.is_success:
        return bytes(answer.content)
    raise refusal_of(answer.json()["code"])
