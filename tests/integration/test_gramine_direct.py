"""Enclaves under `gramine-direct` start behind their door. Skipped without Gramine, which stands in the summary."""

import shutil
from pathlib import Path

import pytest

from client.measuring import CODE_ROOT
from common.enclave.development import launcher_settings
from common.enclave.gramine_launch import GramineSettings
from common.enclave.roles import ROLES
from deploy.enclaves import tools
from deploy.enclaves.building import build
from tests.fakes.installation import Installation, launched

pytestmark = [
    pytest.mark.skipif(shutil.which(tools.DIRECT_TOOL) is None, reason="Gramine is not installed"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return Installation.make(tmp_path_factory.mktemp("state"), *ROLES.values())


@pytest.fixture(scope="module")
def settings(installation: Installation) -> Path:
    directory = installation.state / "enclaves"
    for _ in build(directory, ROLES.values(), installation.trust, CODE_ROOT):
        pass
    gramine = GramineSettings(tool="gramine-direct", directory=str(directory))
    path = installation.state / "launcher-direct.json"
    path.write_bytes(launcher_settings(installation.state).model_copy(update={"gramine": gramine}).encode())
    return path


@pytest.mark.parametrize("role", ["trainer", "query"])
def test_it_starts_behind_its_door(settings: Path, role: str) -> None:
    with launched(role, settings) as enclave:
        assert enclave.door.call("status", b"", seconds=120.0)
