"""Enclaves under `gramine-direct` start behind their door. Skipped without Gramine, which stands in the summary."""

import contextlib
import shutil
from pathlib import Path

import pytest

from client.measuring import CODE_ROOT
from common.enclave.development import launcher_settings
from common.enclave.gramine_launch import GramineSettings
from common.enclave.roles import ROLES
from common.errors import Refusal
from deploy.enclaves import tools
from deploy.enclaves.building import build
from tests.fakes.installation import Installation, launched

pytestmark = [
    pytest.mark.skipif(shutil.which(tools.DIRECT_TOOL) is None, reason="Gramine is not installed"),
    pytest.mark.timeout(600),
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


@pytest.mark.parametrize("role", sorted(ROLES))
def test_it_starts_behind_its_door(settings: Path, role: str) -> None:
    """The broker is there too, and says that it was not started."""
    with launched(role, settings) as enclave:
        with pytest.raises(Refusal) if role == "broker" else contextlib.nullcontext() as refused:
            assert enclave.door.call("status", b"", seconds=120.0)
        assert refused is None or refused.value.code == "unavailable.broker"
