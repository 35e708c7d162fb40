"""Collateral over HTTP, kept current while the application is served; and the settings that it comes from."""

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from common.certificate_links import root_key_sha256
from common.enclave.simulated_pki import SimulatedPki
from common.errors import FormatError, UnavailableError
from common.messages.collateral import CollateralName
from common.messages.evidence import AllowedRoot, Collateral
from common.untrusted.carried import NOTHING
from common.untrusted.collateral_cache import CollateralCache
from common.untrusted.collateral_service import CollateralLimits, CollateralService
from common.untrusted.health import Readiness
from common.untrusted.http_health import health_router
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_refusals import answer_refusals
from common.untrusted.pcs_client import PcsClient
from common.untrusted.request_quota import RequestQuota
from services.attestation.collateral_routes import collateral_router
from services.attestation.settings import AttestationSettings
from services.attestation.strangers import Strangers
from tests.fakes.broker_world import BrokerWorld
from tests.fakes.pcs_server import PcsDouble, serving
from tests.fakes.served_log import AllEnrolled

PKI = SimulatedPki.generate(datetime.now(UTC))
PIECES = PKI.collateral(datetime.now(UTC))
ROOTS = (AllowedRoot(platform="sgx", root_key_sha256=root_key_sha256(PKI.root.certificate)),)
PATH = "/v1/collateral/sgx/c0ffee000000/platform"


def application(service: CollateralService | None) -> FastAPI:
    app = FastAPI()
    answer_refusals(app)
    app.include_router(collateral_router(service, Strangers(RequestQuota(1000, 1000), RequestGate(AllEnrolled()))))
    return app


def offline(directory: Path) -> CollateralService:
    return CollateralService(CollateralCache(directory, ROOTS), None, CollateralLimits())


def test_the_service_is_ready_and_says_what_ends_soon(tmp_path: Path) -> None:
    """Imported on an earlier day, and nobody refreshes it."""
    cache = CollateralCache(tmp_path, ROOTS)
    cache.put(PIECES, "a test", int(time.time()))
    service = CollateralService(cache, None, CollateralLimits(), lambda: time.time() + 10 * 86_400)
    app = FastAPI()
    app.include_router(health_router(Readiness({}, notes=service.ending), NOTHING))
    answer = TestClient(app).get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (200, True)
    [(name, word)] = answer.json()["notes"].items()
    assert name == "collateral sgx-c0ffee000000-platform"
    code, left = word.removesuffix(" s").split(" in ")
    assert code == "unavailable.collateral"
    assert 4 * 86_400 - 60 <= int(left) <= 4 * 86_400


def test_what_is_stored_is_served(tmp_path: Path) -> None:
    service = offline(tmp_path)
    with TestClient(application(service)) as http:
        assert http.get(PATH).json()["code"] == "unavailable.collateral"
        CollateralCache(tmp_path, ROOTS).put(PIECES, "a test", int(time.time()))
        assert Collateral.decode(http.get(PATH).content) == PIECES
        threads = [thread for thread in threading.enumerate() if thread.name == "collateral"]
        assert len(threads) == 1
    threads[0].join(5)
    assert not threads[0].is_alive(), "it ends with the application"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (PATH.replace("sgx", "sev"), 400),
        (PATH.replace("c0ffee000000", "C0FFEE000000"), 400),
        (PATH.replace("c0ffee000000", "..%2f..%2fetc"), 404),
        (PATH.replace("c0ffee000000", "c0ffee"), 400),
        (PATH.replace("platform", "root"), 400),
        (PATH.replace("platform", "processor"), 503),
        (PATH + "/more", 404),
    ],
)
def test_other_paths_are_refused(tmp_path: Path, path: str, status: int) -> None:
    CollateralCache(tmp_path, ROOTS).put(PIECES, "a test", int(time.time()))
    answer = TestClient(application(offline(tmp_path))).get(path)
    assert (answer.status_code, sorted(answer.json())) == (status, ["code", "mend", "mender"])


def test_without_a_service_there_is_no_route(tmp_path: Path) -> None:
    assert TestClient(application(None)).get(PATH).status_code == 404


def test_strangers_who_ask_for_the_unknown_do_not_hold_up_more_than_a_few_threads(tmp_path: Path) -> None:
    """While one fetch hangs, those that exceed the bound are refused at once."""
    hanging = threading.Event()

    def wait(_: PcsDouble, answer: Any) -> None:
        hanging.wait(20)
        answer.status = 500

    with serving(PcsDouble(lambda: PIECES, lie=wait)) as pcs:
        cache = CollateralCache(tmp_path, ROOTS)
        service = CollateralService(cache, PcsClient(pcs.url, seconds=3.0), CollateralLimits())
        refused: list[float] = []

        def ask(number: int) -> None:
            began = time.monotonic()
            name = CollateralName.model_validate({"tee": "sgx", "fmspc": f"{number:012x}", "ca": "platform"})
            with pytest.raises(UnavailableError):
                service.get(name)
            refused.append(time.monotonic() - began)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        while len(refused) < 16:
            time.sleep(0.01)
        at_once = list(refused)
        hanging.set()
        for thread in threads:
            thread.join()
    assert len(refused) == 24
    assert max(at_once) < 2


def settings(directory: Path, **changes: Any) -> AttestationSettings:
    fields = {
        "state_directory": str(directory),
        "listen_port": 1,
        "launcher": "/l",
        "release_file": "/r",
        "database_url": "sqlite://",
    }
    path = directory / "settings.json"
    path.write_text(json.dumps(fields | changes))
    path.chmod(0o600)
    return AttestationSettings.read(path)


def test_settings_make_the_service_under_the_roots_of_the_trust_settings(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path / "world")
    (tmp_path / "trust.json").write_bytes(world.trust.encode())
    own = world.platform.pki.collateral(datetime.now(UTC))
    with serving(PcsDouble(lambda: own)) as pcs:
        read = settings(tmp_path, trust_settings_file=str(tmp_path / "trust.json"), pcs_url=pcs.url)
        name = CollateralName.model_validate({"tee": "sgx", "fmspc": "c0ffee000000", "ca": "platform"})
        assert read.collateral().get(name) == own
        assert (tmp_path / "collateral" / f"{name}.json").exists()
        intel_alone = settings(tmp_path, state_directory=str(tmp_path / "other"), pcs_url=pcs.url)
        with pytest.raises(UnavailableError):
            intel_alone.collateral().get(name)


@pytest.mark.parametrize(
    "changes",
    [
        {"collateral_last_good_seconds": 31 * 86_400},
        {"collateral_refresh_seconds": 15 * 86_400},
        {"collateral_refresh_seconds": 0},
        {"trust_settings_file": "/nowhere"},
    ],
)
def test_limits_that_mean_nothing_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"format\.message"):
        settings(tmp_path, **changes).collateral()
