"""The decision log over HTTP: a service whose process is killed again and again, and auditors with the command line."""

import contextlib
import json
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from click.testing import CliRunner

from client.broker import BrokerLink
from client.cli import main
from client.context import Party
from client.owner import DATA_KEY
from client.policy_terms import NOBODY, sign_policy, wrap_policy
from common.crypto.digests import sha256
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.wrapping import wrap_ring
from common.errors import Refusal
from common.identifiers import DatasetId
from common.key_binding import data_key_info
from common.messages.objects import DatasetManifest, ObjectRef
from common.messages.registration import RegisterDataset, Registered, UpdatePolicy
from common.messages.signed import Signed, sign
from tests.integration.attestation_service import Service

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("audit"))
    service.start()
    yield service
    service.kill(signal.SIGTERM)


def register(party: Party) -> tuple[DatasetId, Signed]:
    """A data set that nobody may use, and its policy."""
    key, broker = party.identity.signing_key, party.trust.broker
    policy = sign_policy(party, NOBODY)
    part = ObjectRef(root=sha256(secrets.token_bytes(8)), chunk_count=1)
    manifest = sign(DatasetManifest(owner=key.party, parts=(part,), policy=policy.digest), key)
    info = data_key_info(manifest.digest, key.party, policy.digest, broker.digest)
    data_key = wrap_ring(KeyRing({DATA_KEY: SecretKey.generate()}), broker.wrapping_public, info)
    body = RegisterDataset(manifest=manifest, policy=wrap_policy(party, policy), data_key=data_key)
    BrokerLink(party).ask(body, Registered)
    return DatasetId.of(manifest.digest), policy


def cloister(party: Party, *words: object) -> list[dict[str, Any]]:
    """The events that a command tells, refusals included."""
    shared = ("--json", "--as", party.directory.name, "--home", str(party.directory.parent))
    surroundings = {"CLOISTER_STATE": str(party.directory / "no-stack")}
    result = CliRunner().invoke(main, ["audit", *map(str, words), *shared], env=surroundings)
    return [json.loads(line) for line in result.output.splitlines()]


def test_an_owner_audits_a_broker_whose_host_is_killed_again_and_again(service: Service, tmp_path: Path) -> None:
    owner, first = service.party(tmp_path, "owner"), tmp_path / "first.log"
    dataset_id, policy = register(owner)
    widened = sign_policy(owner, NOBODY.model_copy(update={"max_jobs": 1}), policy)
    stale = sign_policy(owner, NOBODY.model_copy(update={"max_jobs": 9}), policy)
    for document in (widened, stale):
        with contextlib.suppress(Refusal):
            update = UpdatePolicy(dataset_id=dataset_id, digest=document.digest, policy=wrap_policy(owner, document))
            BrokerLink(owner).ask(update, Registered)
    told = [event["type"] for event in cloister(owner, "fetch", "-o", first)]
    assert told == ["log-verified", "log-saved"]
    registered = 0
    for _ in range(3):
        stopped = threading.Event()

        def decide() -> None:
            nonlocal registered
            with contextlib.suppress(Refusal):
                while not stopped.is_set():  # noqa: B023 - the thread ends before the next one is made
                    register(owner)
                    registered += 1

        thread = threading.Thread(target=decide)
        thread.start()
        time.sleep(0.4)
        service.kill()
        stopped.set()
        thread.join()
        service.start()
        events = cloister(owner, "fetch", "-o", tmp_path / "newest.log")
        assert [event["type"] for event in events] == ["log-verified", "log-saved"], events
    assert registered > 3
    [verified] = cloister(owner, "verify", tmp_path / "newest.log", "--seen", first)
    assert verified["untold"] == 0
    assert verified["head"]["size"] >= registered + 8
    shown = [event["entry"] for event in cloister(owner, "show", "--dataset", dataset_id) if "entry" in event]
    assert [(one["decision"], one["outcome"], one["code"]) for one in shown] == [
        ("register-dataset", "recorded", None),
        ("update-policy", "recorded", None),
        ("update-policy", "refused", "freshness.policy"),
    ]
    [rewound] = cloister(owner, "verify", first)
    assert rewound["code"] == "freshness.state"


def test_others_verify_the_same_log_and_read_nothing_of_it(service: Service, tmp_path: Path) -> None:
    owner, auditor = service.party(tmp_path, "owner"), service.party(tmp_path, "auditor")
    dataset_id, _ = register(owner)
    [verified, _] = cloister(auditor, "fetch", "-o", tmp_path / "log")
    assert verified["told"] == 1 + verified["head"]["epoch"]  # genesis and starts
    assert verified["untold"] > 0
    assert [one["type"] for one in cloister(auditor, "show", "--dataset", dataset_id)] == ["log-verified", "noted"]
    assert dataset_id.encode() not in (tmp_path / "log").read_bytes()


def test_a_stranger_does_not_say_himself_whose_allowance_he_uses(service: Service) -> None:
    with httpx.Client(trust_env=False) as http:
        answers = (
            http.get(f"{service.url}/v1/log/head", headers={"x-forwarded-for": f"203.0.113.{number % 256}"})
            for number in range(2_000)
        )
        assert any(answer.status_code == httpx.codes.TOO_MANY_REQUESTS for answer in answers)


def test_a_log_that_was_changed_on_disk_is_caught(service: Service, tmp_path: Path) -> None:
    owner = service.party(tmp_path, "owner")
    register(owner)
    service.kill()
    path = next((service.state / "broker").glob("chain-*"))
    whole, key = path.read_bytes(), owner.identity.signing_key.party.encode()
    path.write_bytes(whole.replace(key, b"0" * len(key)))
    service.start()
    [refused] = cloister(owner, "fetch", "-o", tmp_path / "log")
    assert refused["code"] == "authenticity.log"
    assert not (tmp_path / "log").exists()
