"""`pip install .`: the wheel carries all that the command `cloister` needs, and the example that the demo trains."""

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.enclave.development import development_trust_settings
from common.enclave.measurement import measured_content
from common.enclave.roles import ROLES, role_spec
from deploy.embedded.specification import CODE_ROOT

PACKAGED = (
    "client",
    "common",
    "services",
    "deploy",
    "examples",
    "requirements",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
SECONDS = 100

Run = Callable[..., list[dict[str, Any]]]


def run_checked(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is installed: a wheel of this checkout in a new environment, without a network."""
    place = tmp_path_factory.mktemp("installation")
    for name in PACKAGED:
        source, copy = CODE_ROOT / name, place / "source" / name
        copy.parent.mkdir(exist_ok=True)
        shutil.copytree(source, copy) if source.is_dir() else shutil.copyfile(source, copy)
    pip, offline = (sys.executable, "-m", "pip", "-q"), ("--no-deps", "--no-index")
    run_checked(*pip, "wheel", *offline, "--no-build-isolation", "-w", place, place / "source", cwd=place)
    run_checked(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    (wheel,) = place.glob("*.whl")
    run_checked(*pip, "--python", place / "venv" / "bin" / "python", "install", *offline, wheel, cwd=place)
    (installed,) = (place / "venv").glob("lib/python3.*/site-packages")
    others = Path(sysconfig.get_path("purelib"))
    (installed / "dependencies.pth").write_text(f"{others}\n")
    (installed / "cryptography").symlink_to(others / "cryptography")  # one that lies beside ours, as all do as a rule
    return installed


@pytest.fixture
def cloister(packages: Path, tmp_path: Path) -> Run:
    """Runs the installed command far from any checkout; what it tells."""

    def run(*words: object) -> list[dict[str, Any]]:
        command = packages.parents[2] / "bin" / "cloister"
        told = run_checked(command, *words, "--json", "--home", tmp_path, cwd=tmp_path, HOME=str(tmp_path))
        return [json.loads(line) for line in told.splitlines()]

    return run


def test_the_command_is_cloister_and_knows_its_version(packages: Path, tmp_path: Path) -> None:
    command = packages.parents[2] / "bin" / "cloister"
    assert run_checked(command, "--version", cwd=tmp_path).startswith("cloister, version ")
    assert "demo" in run_checked(command, "--help", cwd=tmp_path)


def test_it_measures_what_is_installed(packages: Path, cloister: Run, tmp_path: Path) -> None:
    settings = tmp_path / "trust_settings.json"
    settings.write_bytes(development_trust_settings(tmp_path / "state").encode())
    measured = {one["role"]: one["mr_enclave"] for one in cloister("measure", "--trust-settings", settings)}
    assert measured.keys() == ROLES.keys()
    content = measured_content(role_spec("broker"), packages, development_trust_settings(tmp_path / "state"))
    assert {Path(name).parts[0] for name in content} == {"common", "services", "trust_settings.json"}
    with (packages / "services" / "trainer_enclave" / "enclave.py").open("a") as code:
        code.write("# another build\n")
    changed = {one["role"]: one["mr_enclave"] for one in cloister("measure", "--trust-settings", settings)}
    assert changed["trainer"] != measured["trainer"]


def test_the_demos_provider_code_is_there_to_be_packed(packages: Path, cloister: Run, tmp_path: Path) -> None:
    cloister("keygen", "--unsafe-simulation", "provider")
    sealed = tmp_path / "digits.bundle"
    source = run_checked(
        packages.parents[2] / "bin" / "python", "-c", "from client.demo import PROVIDER_SOURCE as it; print(it)",
        cwd=tmp_path,
    ).strip()  # fmt: skip
    assert Path(source).is_relative_to(packages)
    assert cloister("provider", "pack", source, "-o", sealed)[-1]["type"] == "sealed"
