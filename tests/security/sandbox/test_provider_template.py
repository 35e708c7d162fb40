"""What a new provider does first, as typed: init, check, pack. No stack is needed, and nothing is sent."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.measuring import CODE_ROOT

pytestmark = pytest.mark.timeout(240)


def provider(*words: str, home: Path) -> list[dict[str, Any]]:
    """The events of a command that must succeed."""
    command = [sys.executable, "-m", "client.cli", *words, "--home", str(home), "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLOISTER_")}
    done = subprocess.run(command, cwd=CODE_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_new_provider_is_written_checked_and_packed(tmp_path: Path) -> None:
    home, directory, sealed = tmp_path / "home", tmp_path / "first-model", tmp_path / "first.sealed"
    provider("keygen", "provider", "--unsafe-simulation", home=home)
    written = provider("provider", "init", str(directory), home=home)[-1]
    assert (written["type"], written["name"], written["files"]) == (
        "template-written", "first-model", ["provider.toml", "model.py"]
    )  # fmt: skip
    told = provider("provider", "check", str(directory), "--rounds", "1", home=home)
    steps = [(one["step"], one["passed"]) for one in told if one["type"] == "step-checked"]
    assert steps == [(step, True) for step in ("packs", "imports", "trains", "repeats", "answers")]
    assert {one["type"] for one in told} == {
        "step-checked", "check-profiled", "code-exported", "check-finished",
    }  # fmt: skip  # nothing refused
    assert [one["exports"] for one in told if one["type"] == "code-exported"] == [True]
    assert told[-1] == {"type": "check-finished", "passed": True, "refused": 0}
    packed = provider("provider", "pack", str(directory), "-o", str(sealed), home=home)
    assert packed[-1]["type"] == "sealed"
    assert (sealed / "object.json").exists()
