"""The digest of a Python environment and its memory."""

import os
from pathlib import Path

import pytest

from common.enclave.environment import Environment


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    for name in (
        "bin/python",
        "lib/stdlib/json.py",
        "lib/stdlib/site-packages/other.py",
        "site/pack/code.py",
        "site/pack/__pycache__/code.cpython-311.pyc",
        "site/pack/header.h",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"content of {name}")
    return Environment(tmp_path / "bin/python", (), tmp_path / "lib/stdlib", (tmp_path / "site",))


@pytest.mark.parametrize(
    "name",
    [
        "bin/python",
        "lib/stdlib/json.py",
        "site/pack/code.py",
        "site/pack/new.so",
        "site/pack/sourceless.pyc",
        "site/new.pth",
    ],
)
def test_what_an_enclave_can_execute_counts(environment: Environment, tmp_path: Path, name: str) -> None:
    before = environment.digest(tmp_path / "cache")
    (tmp_path / name).write_text("other content")
    assert environment.digest(tmp_path / "cache") != before
    assert environment.digest(tmp_path / "cache") == environment.digest(tmp_path / "fresh_cache")


@pytest.mark.parametrize(
    "name", ["lib/stdlib/site-packages/other.py", "site/pack/__pycache__/code.cpython-311.pyc", "site/pack/header.h"]
)
def test_what_it_cannot_execute_does_not(environment: Environment, tmp_path: Path, name: str) -> None:
    before = environment.digest(tmp_path / "cache")
    (tmp_path / name).write_text("other content")
    assert environment.digest(tmp_path / "cache") == before


def test_a_change_of_equal_size_and_set_back_mtime_is_seen(environment: Environment, tmp_path: Path) -> None:
    victim = tmp_path / "site/pack/code.py"
    before, stat = environment.digest(tmp_path / "cache"), victim.stat()
    victim.write_text(victim.read_text().upper())
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert environment.digest(tmp_path / "cache") != before


def test_the_place_of_an_environment_does_not_count(environment: Environment, tmp_path: Path) -> None:
    before = environment.digest(tmp_path / "cache")
    (tmp_path / "site").rename(tmp_path / "elsewhere")
    moved = Environment(environment.executable, (), environment.standard_library, (tmp_path / "elsewhere",))
    assert moved.digest(tmp_path / "cache") == before


def test_linked_directories_are_walked_once(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "site/pack/loop").symlink_to(tmp_path / "site")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/module.py").write_text("1")
    (tmp_path / "site/linked").symlink_to(tmp_path / "outside")
    before = environment.digest(tmp_path / "cache")
    (tmp_path / "outside/module.py").write_text("2")
    assert environment.digest(tmp_path / "cache") != before


def test_a_damaged_memory_is_forgotten(environment: Environment, tmp_path: Path) -> None:
    good = environment.digest(tmp_path / "cache")
    (tmp_path / "cache").write_text("something else entirely")
    assert environment.digest(tmp_path / "cache") == good
