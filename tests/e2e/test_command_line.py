"""The README's commands, one after the other, as a program would call them."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from client.cli import main
from client.digits import DigitsFiles
from client.measuring import CODE_ROOT
from tests.e2e.conftest import RunningStack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

Told = dict[str, Any]


class Shell:
    """Runs commands in one environment and reads what they tell."""

    def __init__(self, stack: RunningStack, directory: Path) -> None:
        endpoints = directory / "endpoints.json"
        endpoints.write_bytes(stack.endpoints.encode())
        self._environment = {
            "CLOISTER_HOME": str(directory / "home"),
            "CLOISTER_STATE": str(stack.state),
            "CLOISTER_ENDPOINTS": str(endpoints),
        }

    def __call__(self, *words: object) -> list[Told]:
        """The events of a command that succeeds."""
        result = CliRunner().invoke(main, [*map(str, words), "--json"], env=self._environment)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def refused(self, *words: object) -> Told:
        """The refusal of a command that fails."""
        result = CliRunner().invoke(main, [*map(str, words), "--json"], env=self._environment)
        assert result.exit_code == 1, result.output
        told: Told = json.loads(result.stdout.splitlines()[-1])
        assert told["type"] == "refused"
        return told


def retire(run: Shell, bundle: Told, new_order: Sequence[object]) -> None:
    """The provider lists what it has published, and ends it."""
    listed = run("provider", "versions")[-1]
    assert (listed["bundle_id"], listed["root"]) == (bundle["bundle_id"], bundle["root"])
    assert (listed["name"], listed["jobs"], listed["finished"], listed["state"]) == ("digits-cnn", 1, 1, "in force")
    retired = run("provider", "retire", bundle["bundle_id"])[-1]
    assert (retired["identifier"], retired["state"]) == (bundle["bundle_id"], "retired")
    assert retired["log_entry"] > 0
    refused = run.refused(*new_order)
    assert (refused["code"], refused["mender"]) == ("policy.retired", "provider")
    assert run("provider", "versions")[-1]["state"] == "retired"


def forecast(run: Shell, *words: object) -> None:
    """What a job would take by this machine's speed; nothing is ordered."""
    *_, calibrated, preview, forecast = run(*words)
    assert (calibrated["source"], calibrated["machines"], calibrated["slack_percent"]) == ("stand-in", 1, 300)
    assert calibrated["slowness"] > 0
    assert preview["total_ticks"] == forecast["schedule"]["warmup_ticks"] + 3 * 2 * calibrated["ticks_per_round"]
    assert run("owner", "jobs") == []


def watch(run: Shell, job: str, curves: Path) -> str:
    """A job while it runs, by its owner; afterwards, by its provider. Its model."""
    told = run("watch", job, "--plot", curves)
    types = [event["type"] for event in told]
    assert {"report-opened", "rate-measured", "members-listed"} <= set(types)
    assert types[-3:] == ["forecast-held", "model-sealed", "curves-written"]
    assert {"running", "finished"} <= {event["state"] for event in told if event["type"] == "job-progressed"}
    facts = {figure["what"]: figure for figure in told[-3]["figures"]}
    assert facts["ticks"]["fact"] == facts["ticks"]["forecast"]
    assert "</svg>" in curves.read_text()
    public = run("watch", job, "--as", "provider")
    assert {event["type"] for event in public} == {"job-progressed", "members-listed"}
    assert run.refused("watch", job, "--as", "user")["code"] == "not_found.job"
    model: str = told[-2]["model_id"]
    return model


def ask_with_receipt(run: Shell, grant: Path, rows: Path, named: tuple[str, ...]) -> Told:
    """The answer, of which a receipt was kept that stands, and is kept once."""
    receipt = rows.with_suffix(".receipt")
    ask = ("user", "query", "--grant", grant, "--receipt", receipt, rows)
    answered = run(*ask)[-1]
    assert run.refused(*ask)["code"] == "conflict.receipt_file"
    shown = ("--query", f"{receipt}.query", "--answer", f"{receipt}.answer", *named)
    verified = run("verify", "receipt", receipt, *shown)
    assert [label for one in verified for label in one["labels"]] == answered["labels"]
    assert verified[-1]["answers_left"] == answered["answers_left"]
    return answered


def test_the_readmes_commands_in_their_order(stack: RunningStack, digits: DigitsFiles, tmp_path: Path) -> None:
    run = Shell(stack, tmp_path)
    keys = {
        name: run("keygen", "--unsafe-simulation", name)[-1]["party"] for name in ("provider", "owner", "user", "late")
    }
    assert run.refused("verify", "quote")["code"] == "not_found.pin"
    for name in ("provider", "owner", "user"):
        pinned = run("owner", "pin", "--as", name, "--from-checkout")[-1]
        assert pinned["stored"]
    assert run("user", "pin", "--as", "late", "--expect", pinned["fingerprint"])[-1]["stored"]
    assert len(run("measure")) == 4

    run("provider", "pack", CODE_ROOT / "examples" / "providers" / "digits_cnn", "-o", tmp_path / "digits.bundle")
    bundle = run("provider", "publish", tmp_path / "digits.bundle")[-1]
    run("owner", "seal", digits.train, "-o", tmp_path / "train.sealed")
    dataset = run("owner", "upload", tmp_path / "train.sealed")[-1]["dataset_id"]
    assert run.refused("owner", "train", dataset, bundle["bundle_id"])["code"].startswith("policy.")
    run("owner", "policy", dataset, "--provider", keys["provider"], "--bundle", bundle["root"], "--answers", 100)
    tiny = ("--rounds", 2, "--steps", 4, "--batch", 16, "--slack", 300)
    forecast(run, "owner", "train", dataset, bundle["bundle_id"], "--calibrate", "--dry-run", *tiny)
    ordered = run("owner", "train", dataset, bundle["bundle_id"], "--trainers", 2, *tiny)[-1]
    model = watch(run, ordered["job_id"], tmp_path / "curves.svg")
    assert [event["state"] for event in run("owner", "jobs")] == ["finished"]

    retire(run, bundle, ("owner", "train", dataset, bundle["bundle_id"], *tiny))

    grant, rows = tmp_path / "grant.json", tmp_path / "rows.npy"  # a model of a retired bundle is asked as before
    with np.load(digits.held_out) as columns:
        np.save(rows, columns["image"][:20])
    run("owner", "grant", "--user", keys["user"], "--model", model, "--answers", 30, "-o", grant)
    answered = ask_with_receipt(run, grant, rows, ("--user", keys["user"], "--model", model))
    assert (answered["rows"], len(answered["labels"]), answered["answers_left"]) == (20, 20, 10)
    assert run.refused("user", "query", "--grant", grant, rows)["code"] == "policy.budget"
    more = ("owner", "grant", "--user", keys["user"], "--model", model, "--answers", 30, "-o")
    assert run.refused(*more, grant)["code"] == "conflict.grant_file"
    grant = tmp_path / "second.json"
    ended = run(*more, grant)[-1]["grant_id"]
    over = run("owner", "revoke", ended)[-1]
    assert (over["type"], over["identifier"], over["state"]) == ("ended", ended, "revoked")
    assert over["leases_end"] > time.time()
    assert over["log_entry"] > 0
    assert run.refused("user", "query", "--grant", grant, rows)["code"] == "policy.revoked"

    assert run("verify", "quote")[0]["type"] == "quote-verified"
    run("verify", "object", tmp_path / "train.sealed")
    assert dataset in " ".join(run("verify", "model", model)[-1]["checks"])
    ended = run("owner", "cancel", ordered["job_id"])[-1]
    assert (ended["identifier"], ended["state"]) == (model, "model revoked")
    assert run.refused(*more, tmp_path / "third.json")["code"] == "policy.revoked"
    assert run("owner", "delete", dataset)[-1]["state"] == "deleted"
    assert run.refused("owner", "train", dataset, bundle["bundle_id"], *tiny)["code"] in {
        "policy.revoked",
        "not_found.dataset",
    }
