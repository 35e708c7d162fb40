"""Trees and manifests are the same bytes wherever they are built, and hold what the enclave imports, and no more."""

import shutil
from pathlib import Path

import pytest

from client.measuring import CODE_ROOT
from common.enclave.development import development_trust_settings
from common.enclave.environment import Environment
from common.enclave.measurement import measured_content
from common.enclave.roles import ROLES
from common.enclave.trust_settings import TrustSettings
from common.errors import NotFoundError, UnavailableError
from deploy.enclaves import tools
from deploy.enclaves.building import EnclaveFolder, build, build_tree, measure
from deploy.enclaves.manifest import parse_manifest
from deploy.enclaves.staging import StagedFile, list_tree
from tests.fakes.c_library import copy_c_library

SPEC = ROLES["paramserver"]
ABSENT = ("torch", "openvino", "wasmtime", "aiohttp", "celery", "pika", "redis", "sqlalchemy", "uvicorn")


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> TrustSettings:
    return development_trust_settings(tmp_path_factory.mktemp("trust"))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_c_library(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, trust: TrustSettings, runtime: Path
) -> tuple[EnclaveFolder, list[StagedFile]]:
    folder = EnclaveFolder(tmp_path_factory.mktemp("built"), SPEC.role)
    return folder, build_tree(folder, SPEC, trust, CODE_ROOT, runtime)


def test_a_checkout_elsewhere_gives_the_same_manifest(
    built: tuple[EnclaveFolder, list[StagedFile]], trust: TrustSettings, runtime: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "a home" / "checkout"
    for name in ("common", "services"):
        shutil.copytree(CODE_ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in checkout.rglob("*.py"):
        path.touch()
    folder = EnclaveFolder(tmp_path / "out", SPEC.role)
    folder.root.mkdir(parents=True)
    (folder.root / "left").write_text("of an earlier build")
    elsewhere = copy_c_library(tmp_path / "runtime")
    assert build_tree(folder, SPEC, trust, checkout, elsewhere) == built[1]
    assert folder.rendered.read_bytes() == built[0].rendered.read_bytes()


def test_what_is_trusted_is_what_is_there(built: tuple[EnclaveFolder, list[StagedFile]]) -> None:
    folder, files = built
    trusted = parse_manifest(folder.rendered.read_bytes()).sgx.trusted_files
    there = list_tree(folder.root)
    assert there == files
    assert {file.uri: file.sha256 for file in trusted} == {f"file:root/{file.place}": file.sha256 for file in there}


def test_no_place_of_the_builder_is_in_the_manifest(built: tuple[EnclaveFolder, list[StagedFile]]) -> None:
    text = built[0].rendered.read_text()
    environment = Environment.current()
    for place in (CODE_ROOT, built[0].place, environment.standard_library, *environment.site_packages, Path.home()):
        assert f"{place}/" not in text


def test_all_of_ours_is_in_it_and_nothing_else(
    built: tuple[EnclaveFolder, list[StagedFile]], trust: TrustSettings
) -> None:
    content = measured_content(SPEC, CODE_ROOT, trust)
    assert {file.place for file in built[1] if file.place.startswith("code/")} == {f"code/{name}" for name in content}


def test_the_set_is_small(built: tuple[EnclaveFolder, list[StagedFile]]) -> None:
    places = [file.place for file in built[1]]
    assert len(places) < 700
    assert sum(file.size_bytes for file in built[1]) < 200e6
    assert not [place for place in places for name in ABSENT if place.startswith(f"packages/{name}")]
    assert not [place for place in places if place.endswith(".pyc")]


def test_without_gramine_it_says_what_is_missing(
    trust: TrustSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="unavailable.gramine") as refused:
        next(build(tmp_path, [SPEC], trust, CODE_ROOT))
    assert tools.MANIFEST_TOOL in refused.value.in_full()


def test_what_was_not_signed_is_not_measured(built: tuple[EnclaveFolder, list[StagedFile]]) -> None:
    with pytest.raises(NotFoundError, match="not_found.enclave"):
        measure(built[0])
