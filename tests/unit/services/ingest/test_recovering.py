"""A recovery statement reaches the key broker through the front door, which then knows the old identity no more."""

import secrets

import pytest

from common.crypto.signing import SigningKey
from common.messages.broker_exchange import BrokerRequest
from common.messages.identity import RecoverIdentity
from common.messages.registration import RegisterDataset
from common.messages.service import DatasetList
from common.messages.signed import Signed
from services.ingest.app import Ingest
from services.ingest.routes import RECOVERY_BURST
from tests.fakes.broker_world import BrokerWorld, Party
from tests.fakes.identities import Recoverable, bind, replacement, revocation
from tests.fakes.ingest_world import IngestWorld, register_dataset


@pytest.fixture
def owner(broker: BrokerWorld) -> Recoverable:
    party = Recoverable()
    bind(broker, party)
    return party


def bring(world: IngestWorld, statement: Signed) -> int:
    """As its client does: under a key of the moment."""
    courier = world.client(SigningKey.generate(), enrolled=False)
    body = BrokerRequest(nonce=secrets.token_bytes(32), body=RecoverIdentity(statement=statement))
    return courier.post("/v1/identities/recover", body.encode()).status_code


def enrolled(ingest: Ingest, party: Party) -> bool:
    return ingest.registry.is_enrolled(party.party)


def test_a_revoked_identitys_requests_are_refused(world: IngestWorld, broker: BrokerWorld, owner: Recoverable) -> None:
    client = world.client(owner)
    assert bring(world, revocation(broker, owner)) == 200
    for answer in (client.get("/v1/jobs"), client.get("/v1/identities/self")):
        assert (answer.status_code, answer.json()["code"]) == (403, "authenticity.http_signature")
    assert client.enrol().json()["code"] == "quota.identities"


def test_a_successor_goes_on(world: IngestWorld, broker: BrokerWorld, owner: Recoverable) -> None:
    data = register_dataset(broker, world.client(owner), owner)
    successor = Recoverable()
    for _ in range(2):
        assert bring(world, replacement(broker, owner, successor)) == 200
    assert not enrolled(world.ingest, owner)
    listed = DatasetList.decode(world.client(successor, enrolled=False).get("/v1/datasets").content)
    assert [one.dataset_id for one in listed.datasets] == [data.dataset_id]


def test_what_the_broker_refuses_ends_nothing(world: IngestWorld, broker: BrokerWorld, owner: Recoverable) -> None:
    world.client(owner)
    forged = revocation(broker, owner)
    forged = forged.model_copy(update={"signatures": revocation(broker, Recoverable()).signatures})
    assert bring(world, forged) == 200  # the broker's refusal, for who asked to read
    assert enrolled(world.ingest, owner)
    elsewhere = revocation(broker, owner, broker=Recoverable().party)
    bring(world, elsewhere)
    assert enrolled(world.ingest, owner)


def test_another_request_is_not_carried(world: IngestWorld, broker: BrokerWorld, owner: Recoverable) -> None:
    body: RegisterDataset = broker.dataset_registration(broker.seal_data(owner))
    raw = BrokerRequest(nonce=bytes(32), body=body).encode()
    answer = world.client(owner).post("/v1/identities/recover", raw)
    assert (answer.status_code, answer.json()["code"]) == (400, "format.message")


def test_strangers_do_not_occupy_the_broker_through_this_door(
    world: IngestWorld, broker: BrokerWorld, owner: Recoverable
) -> None:
    """Every key is new, so they are counted by address; the broker hears no more than that."""
    statement = revocation(broker, Recoverable())
    statuses = [bring(world, statement) for _ in range(RECOVERY_BURST + 5)]
    assert statuses[:RECOVERY_BURST] == [200] * RECOVERY_BURST
    assert 429 in statuses
    assert world.route.asked < len(statuses)
    assert world.client(owner).get("/v1/jobs").status_code == 200
