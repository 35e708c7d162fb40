"""Gramine's own tools take our manifests, and two builds have one MRENCLAVE. Skipped without Gramine."""

import shutil
from pathlib import Path

import pytest

from client.measuring import CODE_ROOT
from common.enclave.development import development_trust_settings
from common.enclave.roles import ROLES
from common.enclave.trust_settings import TrustSettings
from deploy.enclaves import tools
from deploy.enclaves.building import EnclaveFolder, build, measure, sign
from deploy.enclaves.manifest import parse_manifest

pytestmark = [
    pytest.mark.skipif(shutil.which(tools.SIGN_TOOL) is None, reason="Gramine is not installed"),
    pytest.mark.timeout(900),  # eight trees are built: two minutes of a core
]
SPECS = list(ROLES.values())


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> TrustSettings:
    return development_trust_settings(tmp_path_factory.mktemp("trust"))


def built(place: Path, trust: TrustSettings) -> Path:
    for _ in build(place / "enclaves", SPECS, trust, CODE_ROOT):
        pass
    tools.make_key(place / "key.pem")
    return place


def test_two_builds_measure_alike_whoever_signs(trust: TrustSettings, tmp_path: Path) -> None:
    first, second = built(tmp_path / "first", trust), built(tmp_path / "elsewhere" / "second", trust)
    told = [dict(sign(place / "enclaves", SPECS, place / "key.pem")) for place in (first, second)]
    for spec in SPECS:
        one, two = (each[spec.role] for each in told)
        assert one.mr_enclave == two.mr_enclave
        assert one.mr_signer != two.mr_signer
        assert not one.is_debug
        folder = EnclaveFolder(first / "enclaves", spec.role)
        assert measure(folder) == one
        assert parse_manifest(folder.signed.read_bytes()).sgx.isvprodid == one.isv_prod_id
    assert len({each.mr_enclave for each in told[0].values()}) == len(SPECS)
