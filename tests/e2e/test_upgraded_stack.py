"""An upgrade with parties: sealed data, a model, its grant and a job's result outlive a change of all measurements.

There is no earlier release yet, so the earlier build is a copy of this checkout whose enclaves measure otherwise. Its
command brings the stack up, and waits for the last job; this checkout's takes over.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.digits import write_digits
from common.messages.signed import Signed
from deploy.embedded.specification import CODE_ROOT
from tests.e2e.command_process import naming

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        "CLOISTER_REHEARSALS" not in os.environ, reason="a rehearsal of five minutes: CLOISTER_REHEARSALS=1 runs it"
    ),
]

PATIENCE_SECONDS = 120.0
CODE = ("client", "common", "deploy", "examples", "requirements", "services", "pyproject.toml")
TINY = ("--rounds", 2, "--steps", 4, "--batch", 16, "--slack", 400, "--warmup", 15)

Told = dict[str, Any]


@dataclass(frozen=True)
class Build:
    """The command of one checkout, for the parties and the stack of one directory."""

    root: Path
    place: Path

    def __call__(self, *words: object, status: int = 0) -> list[Told]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("CLOISTER_")}
        places = {"CLOISTER_HOME": str(self.place / "home"), "CLOISTER_STATE": str(self.place / "state")}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "client.cli", *map(str, words), "--json"],
            cwd=self.place, env={**own, **places, "PYTHONPATH": str(self.root)},
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def labels(self, grant: Path, rows: Path) -> list[int]:
        """A user's answers; the query enclave may take a while to come up."""
        answered: Told = self("user", "query", "--grant", grant, rows)[-1]
        return list(answered["labels"])


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Build]:
    """A build whose enclaves all measure otherwise, and a stack of its making that is stopped at the end."""
    root = tmp_path / "older"
    root.mkdir()
    for name in CODE:
        copy: Any = shutil.copytree if (CODE_ROOT / name).is_dir() else shutil.copyfile
        copy(CODE_ROOT / name, root / name)
    door = root / "common/door.py"
    door.write_bytes(door.read_bytes() + b"# an earlier build\n")
    build = Build(root, tmp_path)
    yield build
    Build(CODE_ROOT, tmp_path)("down")
    assert naming(tmp_path) == []


def await_event(log: Path, event: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while f'"{event}"' not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.2)


def test_everything_that_is_sealed_outlives_an_upgrade(older: Build, tmp_path: Path) -> None:
    digits, state, newer = write_digits(tmp_path / "digits"), tmp_path / "state", Build(CODE_ROOT, tmp_path)
    rows, grant = tmp_path / "rows.npy", tmp_path / "grant.json"
    with np.load(digits.held_out) as columns:
        np.save(rows, columns["image"][:4])

    # the earlier build: data, a model, a grant, and a job that is still running when the operator wants to stop
    older("up")
    keys = {name: older("keygen", "--unsafe-simulation", name)[-1]["party"] for name in ("provider", "owner", "user")}
    for name in keys:
        older("owner", "pin", "--as", name, "--from-checkout")
    older("provider", "pack", CODE_ROOT / "examples/providers/digits_cnn", "-o", tmp_path / "bundle")
    bundle = older("provider", "publish", tmp_path / "bundle")[-1]["bundle_id"]
    older("owner", "seal", digits.train, "-o", tmp_path / "sealed")
    dataset = older("owner", "upload", tmp_path / "sealed")[-1]["dataset_id"]
    allowed = ("owner", "policy", dataset, "--provider", keys["provider"], "--answers", 2000, "--max-jobs", 8)
    older(*allowed)
    train = ("owner", "train", dataset, bundle, "--trainers", 1, *TINY)
    model = older("watch", older(*train)[-1]["job_id"])[-1]["model_id"]
    older("owner", "grant", "--user", keys["user"], "--model", model, "--answers", 500, "-o", grant)
    before = older.labels(grant, rows)
    last_job = older(*train)[-1]["job_id"]
    waited = older("down", "--when-idle")
    assert [one["text"] for one in waited if one["type"] == "noted"] == ["1 jobs are under way", "0 jobs are under way"]

    # this build: it takes over only when told to, and only when everybody's terms name it
    assert newer("up", status=1)[-1]["code"] == "conflict.build"
    newer("up", "--hand-over")
    releases = [Signed.decode(path.read_bytes()).digest for path in (state / "release").glob("**/*.json")
                if path.name == "release.json" or path.parent.name == "earlier"]  # fmt: skip
    assert len(releases) == 2
    named = [word for one in releases for word in ("--release", one)]
    newer(*allowed, *named)
    terms = tmp_path / "terms.yaml"
    where = f"where: {{trust_level: simulation, releases: [{', '.join(releases)}]}}"
    terms.write_text(f"policy: bundle\n{where}\nuntil: 2099-01-01\nanswering: {{answers: 10000}}\n")
    newer("provider", "terms", bundle, "--terms", terms)
    await_event(state / "logs/attestation.log", "broker_handed_over")

    for name in keys:
        newer("owner", "pin", "--as", name, "--from-checkout")
    jobs = {one["job_id"]: one["state"] for one in newer("owner", "jobs") if one["type"] == "job-seen"}
    assert jobs[last_job] == "finished"
    again, new_grant = newer("watch", newer(*train)[-1]["job_id"])[-1]["model_id"], tmp_path / "new-grant.json"
    newer("owner", "grant", "--user", keys["user"], "--model", again, "--answers", 500, "-o", new_grant)
    assert len(newer.labels(new_grant, rows)) == len(before)

    # the model of before is answered by the new build's enclaves, under a grant for these: the earlier one is not
    assert newer("user", "query", "--grant", grant, rows, status=1)[-1]["code"] == "appraisal.release"
    anew = tmp_path / "granted-anew.json"
    newer("owner", "grant", "--user", keys["user"], "--model", model, "--answers", 500, "-o", anew)
    assert newer.labels(anew, rows) == before
