"""What the bench of GPUs says where there is none, and of its figures."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import gpu as bench_gpu
from bench.gpu import missed
from common.errors import ConfinementError


def test_bars_are_for_what_was_measured() -> None:
    assert missed({}) == missed({"left_out": "no GPU"}) == []
    assert missed({"gpu_protected_ratio": 0.9, "gpu_vs_tee_cpu": 161.0}) == []
    assert missed({"gpu_protected_ratio": 0.89, "gpu_vs_tee_cpu": 160.9}) == ["gpu_protected_ratio", "gpu_vs_tee_cpu"]


def test_without_a_gpu_the_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise ConfinementError("confinement.gpu", seen="no /dev/nvidia0")

    monkeypatch.setattr(bench_gpu, "require_confinement", lambda: None)
    monkeypatch.setattr(bench_gpu, "require_gpu", none)
    monkeypatch.setattr("bench.cifar10.missing", lambda: None)
    told = CliRunner().invoke(bench_gpu.gpu, ["--json", str(tmp_path / "gpu.json")])
    assert told.exit_code == 0
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"left_out": "confinement.gpu: no /dev/nvidia0"}
