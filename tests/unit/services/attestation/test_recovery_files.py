"""Packages on disk, and what the host lays to the words of holders and witnesses."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from common.errors import NotFoundError
from common.identifiers import DatasetId
from common.messages.broker_exchange import BrokerReply
from common.messages.recovery import Recovered, RecoveryWords
from common.messages.signed import Signed
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_refusals import answer_refusals
from common.untrusted.request_quota import RequestQuota
from services.attestation.recovery_files import RecoveryFiles
from services.attestation.recovery_routes import recovery_router
from services.attestation.state_files import StateFiles
from services.attestation.strangers import Strangers
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.recovery_world import RecoveryWorld
from tests.fakes.served_log import AllEnrolled

NAME = DatasetId("data_" + "0" * 32)


def test_a_package_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    files = RecoveryFiles(tmp_path / "recovery")
    with pytest.raises(NotFoundError, match=r"not_found\.recovery"):
        files.read(NAME)
    for package in (b"one", b"another"):
        files.keep(NAME, package)
        assert RecoveryFiles(tmp_path / "recovery").read(NAME) == package
    assert [path.name for path in (tmp_path / "recovery").iterdir()] == [f"{NAME}.package"]
    files.keep(NAME, b"")
    files.keep(NAME, b"")
    assert list((tmp_path / "recovery").iterdir()) == []


class Host:
    """The new machine's relay, on a core in this process; its own state is not asked for here."""

    def __init__(self, world: BrokerWorld, directory: Path) -> None:
        self._world, self.files = world, StateFiles(directory)

    def ask(self, raw: bytes) -> bytes:
        return self._world.handle(raw)


def stored(lost: RecoveryWorld, directory: Path) -> Path:
    """The old machine's state as its host kept it."""
    files = StateFiles(directory)
    files.begin(0, lost.old.store.entries)
    files.add(b"a blob that opens nowhere")
    files.commit()
    for name, package in lost.old.store.packages.items():
        files.recovery.keep(name, package)
    return directory


def http(lost: RecoveryWorld, new: BrokerWorld, state: Path | None) -> TestClient:
    app = FastAPI()
    answer_refusals(app)
    strangers = Strangers(RequestQuota(1000, 1000), RequestGate(AllEnrolled()))
    app.include_router(recovery_router(Host(new, lost.directory / "own"), state, strangers))  # type: ignore[arg-type]
    return TestClient(app)


@pytest.mark.parametrize("decided", [0, 3], ids=["nothing decided since", "more decided since"])
@pytest.mark.parametrize("witnessed", [True, False], ids=["all of it witnessed", "package ahead of the witness"])
def test_package_and_log_are_laid_to_what_was_brought(tmp_path: Path, *, decided: int, witnessed: bool) -> None:
    lost = RecoveryWorld(tmp_path)
    for _ in range(decided):
        lost.old.register_data()
    if witnessed:
        lost.witness.round()
    else:
        lost.old.start_job(lost.data)
    new = lost.new_machine()
    client = http(lost, new, stored(lost, tmp_path / "kept"))
    path = f"/v1/recovery/{lost.data.dataset_id}"
    assert Signed.decode(client.get(path).content) == lost.package()
    shares = tuple(lost.share(one, new) for one in lost.holders[:2])
    words = RecoveryWords(shares=shares, retirements=(lost.retirement(new),))
    with new.attended(lost.witness_identity.signing_key):
        answer = client.post(path, content=words.encode())
    body = BrokerReply.decode(Signed.decode(answer.content).payload).body
    assert body == Recovered(dataset_id=lost.data.dataset_id, predecessor=lost.old.genesis.digest)


def test_without_an_old_state_there_is_nothing_to_recover(tmp_path: Path) -> None:
    lost = RecoveryWorld(tmp_path)
    client = http(lost, lost.old, None)
    words = RecoveryWords(shares=(), retirements=()).encode()
    for answer in (client.get(f"/v1/recovery/{NAME}"), client.post(f"/v1/recovery/{NAME}", content=words)):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found.recovery")
    assert client.get("/v1/recovery/..%2fx").status_code in {400, 404}
    assert client.get("/v1/recovery/data_x").json()["code"] == "format.identifier"
