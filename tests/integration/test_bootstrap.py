"""The bootstrap script `./cloister`: what it does with an environment that is current, missing, or out of date."""

import hashlib
import os
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.embedded.specification import CODE_ROOT

_SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], os.getcwd(), os.environ['PYTHONPATH']]))"
_TIMEOUT_SECONDS = 60


def bare_checkout(root: Path) -> Path:
    """A checkout whose locks name nothing and whose command line shows how it was called."""
    (root / "requirements").mkdir(parents=True)
    (root / "client").mkdir()
    shutil.copy(CODE_ROOT / "cloister", root)
    (root / "client" / "cli.py").write_text(_SHOW)
    for lock in ("core", "torch", "dev"):
        (root / "requirements" / f"{lock}.txt").write_text("# nothing\n")
    return root


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[subprocess.CompletedProcess[str]]]:
    """A checkout that two starts at once, in an empty environment, made ready; and how they ended."""
    root = bare_checkout(tmp_path_factory.mktemp("made") / "check out")
    with ThreadPoolExecutor(2) as pool:
        return root, list(pool.map(lambda _: start(root, "keygen", "a b", "--json"), range(2)))


@pytest.fixture
def checkout(made_once: tuple[Path, object], tmp_path: Path) -> Path:
    """A copy of the checkout that is ready."""
    return shutil.copytree(made_once[0], tmp_path / "check out", symlinks=True)


def wheel_in(directory: Path) -> Path:
    """The smallest wheel of a package `nothing`, version 1."""
    path = directory / "nothing-1-py3-none-any.whl"
    facts = {"METADATA": "Metadata-Version: 2.1\nName: nothing\nVersion: 1\n", "RECORD": ""}
    facts["WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in facts.items():
            archive.writestr(f"nothing-1.dist-info/{name}", text)
    return path


def start(checkout: Path, *words: str, cwd: Path = Path("/"), **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(checkout / "cloister"), *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )


def test_two_starts_at_once_in_an_empty_environment_make_one_environment(
    made_once: tuple[Path, list[subprocess.CompletedProcess[str]]],
) -> None:
    root, both = made_once
    assert [ended.returncode for ended in both] == [0, 0], both
    assert sorted("making" in ended.stderr for ended in both) == [False, True]
    shown = f'[["keygen", "a b", "--json"], "/", "{root}"]\n'
    assert {ended.stdout for ended in both} == {shown}
    again = start(root, "keygen", "a b", "--json")
    assert (again.stdout, again.stderr) == (shown, "")


def test_a_changed_lock_is_installed_and_only_by_its_hash(checkout: Path) -> None:
    wheel, lock = wheel_in(checkout), checkout / "requirements" / "core.txt"
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for hashes in ("", f" --hash=sha256:{'0' * 64}"):
        lock.write_text(f"nothing @ {wheel.as_uri()}{hashes}\n")
        refused = start(checkout)
        assert refused.returncode != 0
        assert "hash" in refused.stderr.lower()
        assert refused.stdout == ""
    lock.write_text(f"nothing @ {wheel.as_uri()} --hash=sha256:{right}\n")
    taken = start(checkout)
    assert taken.returncode == 0, taken.stderr
    assert start(checkout).stderr == ""


def test_a_broken_environment_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv" / "bin" / "python").unlink()
    assert start(checkout).returncode == 0


def test_through_a_link_it_finds_its_checkout(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "bin"
    link.mkdir()
    (link / "cloister").symlink_to(checkout / "cloister")
    (tmp_path / "client").mkdir()
    (tmp_path / "client" / "cli.py").write_text("raise SystemExit('a foreign package of the current directory ran')")
    assert start(link, "status", cwd=tmp_path).stdout == f'[["status"], "{tmp_path}", "{checkout}"]\n'


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap hides the installed packages")
def test_without_packages_and_without_root_it_prints_the_command_and_fails(checkout: Path) -> None:
    without_rabbitmq = [
        "/usr/bin/bwrap", "--dev-bind", "/", "/", "--tmpfs", "/usr/lib/rabbitmq",
        "--unshare-user", "--uid", "65534", "--clearenv", str(checkout / "cloister"),
    ]  # fmt: skip
    ended = {}
    for command in ("demo", "keygen"):
        ended[command] = subprocess.run(
            [*without_rabbitmq, command], capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    assert ended["keygen"].returncode == 0  # a party's own machine needs no broker
    assert ended["demo"].returncode == os.EX_UNAVAILABLE
    assert ended["demo"].stdout == ""
    assert "apt-get install --no-install-recommends rabbitmq-server" in ended["demo"].stderr
