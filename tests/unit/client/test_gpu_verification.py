"""`cloister verify gpu` on evidence of real devices."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from client.cli import main
from common.nvidia import gpu_nonce
from tests.vectors.nvidia_evidence import AT, FOLDER, HOPPER_RIM_AT, HOPPERS, VBIOS_RIM, nonce_of

ALL = ("unmeasured", "unknown-revocation", "unattested-fabric")


def verify(*words: str, sources: tuple[str, ...] = ("multi_gpu_hopper.json",), at: int = AT) -> list[dict[str, Any]]:
    arguments = ["verify", "gpu", *(str(FOLDER / one) for one in sources), "--json", "--at", str(at), *words]
    result = CliRunner().invoke(main, arguments)
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.exit_code == 0) == (told[-1]["type"] == "verified")
    return told


def allowing(*names: str) -> list[str]:
    return [word for name in names for word in ("--dangerously-allow", name)]


def test_four_gpus() -> None:
    nonce = nonce_of(HOPPERS[0]).hex()
    told = verify("--gpus", "4", "--nonce", nonce, "--min-driver", "590.0", *allowing(*ALL))
    assert len(told) == 5
    assert told[0]["subject"].startswith("hopper GH100, device ")
    assert "driver 590.12, mode protected-pcie, VBIOS 96.00.A5.00.01" in told[0]["checks"]
    assert told[-1]["subject"] == "4 GPUs, 0 switches"
    assert f"nonce {nonce}: ours" in told[-1]["checks"]


def test_beside_a_processors_evidence() -> None:
    """Its report data gives the nonce, which these were not asked with."""
    refused = verify("--report-data", "ab" * 64, *allowing(*ALL))[-1]
    assert (refused["code"], refused["expected"]) == ("appraisal.gpu_binding", gpu_nonce(b"\xab" * 64).hex())
    for words in (["--report-data", "ab"], ["--report-data", "ab" * 64, "--nonce", "0" * 64]):
        place = str(FOLDER / "hopper_evidence.json")
        assert CliRunner().invoke(main, ["verify", "gpu", place, *words]).exit_code == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (allowing(*ALL[:2]), "appraisal.gpu_set"),
        (allowing(*ALL[1:]), "appraisal.gpu_rim"),
        (allowing(ALL[0], ALL[2]), "freshness.ocsp"),
        ([*allowing(*ALL), "--gpus", "8"], "appraisal.gpu_set"),
        ([*allowing(*ALL), "--min-driver", "590.13"], "appraisal.gpu_version"),
        ([*allowing(*ALL), "--nonce", "0" * 64], "appraisal.gpu_binding"),
        ([*allowing(*ALL), "--at", "1600000000"], "freshness.gpu_report"),
        ([*allowing(*ALL), "--rim", str(FOLDER / VBIOS_RIM)], "freshness.rim"),
        ([*allowing(*ALL), "--rim", str(FOLDER / "README.md")], "format.rim"),
        ([*allowing(*ALL), "--ocsp", str(FOLDER / "README.md")], "format.ocsp"),
        (["--min-driver", "newest"], "format.message"),
    ],
)
def test_what_is_not_met_is_named(words: list[str], code: str) -> None:
    assert verify(*words)[-1]["code"] == code


def test_reference_values_of_another_gpu_do_not_speak_of_this_one() -> None:
    rim = ["--rim", str(FOLDER / VBIOS_RIM)]
    assert verify(*rim, *allowing(*ALL), at=HOPPER_RIM_AT)[-1]["type"] == "verified"


def test_files_of_one_host() -> None:
    """A GPU's and a switch's come in a file each; these are not of one host."""
    told = verify(*allowing(*ALL), sources=("hopper_evidence.json", "switch_evidence_ls10.json"))
    assert told[-1]["code"] == "appraisal.gpu_binding"
    assert (
        verify(*allowing(*ALL), sources=("hopper_evidence.json", "hopper_evidence.json"))[-1]["code"]
        == "appraisal.gpu_set"
    )


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[{}]", '[{"arch": "HOPPER"}]', "[]", "[" * 100_000, "\xff"])
def test_files_that_are_none(text: str, tmp_path: Path) -> None:
    place = tmp_path / "evidence.json"
    place.write_bytes(text.encode("latin-1"))
    assert verify(sources=(str(place),))[-1]["code"] == "format.gpu_report"


def test_fields_that_nobody_signed_are_not_believed(tmp_path: Path) -> None:
    (one,) = json.loads((FOLDER / "hopper_evidence.json").read_text())
    place = tmp_path / "evidence.json"
    place.write_text(json.dumps([one | {"arch": "BLACKWELL", "nonce": "00" * 32}]))
    told = verify("--nonce", one["nonce"], *allowing(*ALL), sources=(str(place),))
    assert told[0]["subject"].startswith("hopper GH100")
