"""The HTTP routes of the decision log over a broker in this process, with the real router (side: library).

What a hostile host would serve instead, a test does with `LogFiles`.
"""

from fastapi import FastAPI
from fastapi.testclient import TestClient

from common.errors import refusal_of
from common.identifiers import PartyKey
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_refusals import answer_refusals
from common.untrusted.request_quota import RequestQuota
from services.attestation.log_routes import log_router
from services.attestation.log_store import LogStore
from services.attestation.strangers import Strangers
from tests.fakes.broker_world import BrokerWorld


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
    gate = RequestGate(AllEnrolled())
    strangers = Strangers(RequestQuota(1000, 1000), gate)
    app = FastAPI()
    answer_refusals(app)
    app.include_router(log_router(world.handle, LogStore(LogFiles(world)), gate, strangers))
    return TestClient(app)


def get_log(world: BrokerWorld, path: str) -> bytes:
    """The body of a successful answer. Raises the refusal."""
    answer = log_service(world).get(path)
    if answer.is_success:
        return bytes(answer.content)
    raise refusal_of(answer.json()["code"])
