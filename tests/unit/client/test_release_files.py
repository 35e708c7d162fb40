"""A list of measured files is proven by the measurement that it leads to, and says in which file a build differs."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.cli import main
from client.events import FilesVerified
from client.measuring import digest_cache, list_own_files, own_references
from client.rendering import Terminal
from common.crypto.digests import sha256
from common.enclave.development import make_development_release
from common.enclave.roles import role_spec
from common.enclave.trust_settings import TRUST_SETTINGS_FILE, TrustSettings
from common.messages.measured_files import MeasuredFiles
from common.messages.release import Release
from tests.fakes.broker_world import QUERY, TRAINER
from tests.vectors.sample_documents import TRUST, USER


@pytest.fixture(scope="module")
def built() -> MeasuredFiles:
    return list_own_files(TRUST, digest_cache())


@pytest.fixture
def file(tmp_path: Path, built: MeasuredFiles) -> Path:
    """A release draft of this checkout, its list beside it."""
    release = Release(name="test", tag="1", created=1, measurements=own_references(built))
    (tmp_path / "release.json").write_bytes(release.encode())
    (tmp_path / "release.files.json").write_bytes(built.encode())
    return tmp_path / "release.json"


def files(file: Path, *options: str, trust: TrustSettings = TRUST, status: int = 0) -> list[dict[str, Any]]:
    settings = file.with_name("trust.json")
    settings.write_bytes(trust.encode())
    words = ["release", "files", str(file), "--role", "trainer", "--trust-settings", str(settings), "--json", *options]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_stacks_own_release_has_its_list_where_it_is_looked_for(tmp_path: Path, built: MeasuredFiles) -> None:
    (tmp_path / "snapshots").mkdir()
    shutil.copy(digest_cache(), tmp_path / "snapshots" / "environment.cache")
    make_development_release(tmp_path, specs=(role_spec(TRAINER),))
    *listed, verified = files(tmp_path / "release" / "release.json")
    assert (verified["type"], len(listed)) == ("files-verified", len(built.roles[TRAINER].files))


def spoil(file: Path, **changes: Any) -> None:
    beside = file.with_name("release.files.json")
    read = json.loads(beside.read_bytes())
    read["roles"]["trainer"]["files"] |= changes
    beside.write_text(json.dumps(read))


def test_every_file_of_an_enclave_is_listed_and_leads_to_its_measurement(file: Path, built: MeasuredFiles) -> None:
    *listed, verified = files(file)
    assert {one["name"]: one["sha256"] for one in listed} == dict(built.roles[TRAINER].files)
    assert (verified["type"], verified["files"], verified["environment"]) == (
        "files-verified", len(listed), built.environment,
    )  # fmt: skip
    assert {one["name"]: one["sha256"] for one in listed}[TRUST_SETTINGS_FILE] == sha256(TRUST.encode())


@pytest.mark.parametrize("changes", [{"common/door.py": "ab" * 32}, {"common/planted.py": "ab" * 32}])
def test_a_list_that_leads_elsewhere_lists_nothing(file: Path, changes: dict[str, str]) -> None:
    spoil(file, **changes)
    (refused,) = files(file, status=1)
    assert refused["code"] == "appraisal.measurement"


def test_nor_does_one_of_another_entry_or_environment(file: Path, built: MeasuredFiles) -> None:
    trainer = built.roles[TRAINER].model_copy(update={"entry": built.roles[QUERY].entry})
    for other in (
        built.model_copy(update={"environment": sha256(b"another")}),
        built.model_copy(update={"roles": dict(built.roles) | {TRAINER: trainer}}),
    ):
        file.with_name("release.files.json").write_bytes(other.encode())
        assert files(file, status=1)[-1]["code"] == "appraisal.measurement"


def test_a_build_that_differs_says_in_which_file(file: Path) -> None:
    (same,) = files(file, "--compare")
    assert (same["differing"], same["own_environment"]) == (0, same["environment"])
    others = TRUST.model_copy(update={"release_keys": (USER,)})
    differing, verified = files(file, "--compare", trust=others)
    assert (differing["name"], differing["own"]) == (TRUST_SETTINGS_FILE, sha256(others.encode()))
    assert verified["differing"] == 1


def test_a_build_with_other_packages_says_so(
    file: Path, built: MeasuredFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    other = built.model_copy(update={"environment": sha256(b"another")})
    release = Release(name="test", tag="1", created=1, measurements=own_references(other))
    file.write_bytes(release.encode())
    file.with_name("release.files.json").write_bytes(other.encode())
    (verified,) = files(file, "--compare")
    assert (verified["differing"], verified["own_environment"]) == (0, built.environment)
    Terminal().show(FilesVerified.decode(json.dumps(verified).encode()))
    assert built.environment in capsys.readouterr().out


def test_a_missing_list_or_role_is_said(file: Path, built: MeasuredFiles) -> None:
    beside = file.with_name("release.files.json")
    without = {name: one for name, one in built.roles.items() if name != "trainer"}
    beside.write_bytes(built.model_copy(update={"roles": without}).encode())
    assert files(file, status=1)[-1]["code"] == "not_found.role"
    beside.unlink()
    files(file, status=2)
