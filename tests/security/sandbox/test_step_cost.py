"""What a step costs is measured in the sandbox of a job, on rows about nobody, and published once."""

from pathlib import Path

import pytest

from client.checking import costs
from client.checking.costs import measure_step
from client.checking.events import StepMeasured
from client.measuring import CODE_ROOT
from common.bundle_packing import pack_bundle
from common.errors import Refusal

EXAMPLES = CODE_ROOT / "examples" / "providers"

DEAR = """
import sys
import torch

class Dear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x)

    def training_step(self, batch):
        {work}
        return torch.nn.functional.cross_entropy(self(batch["x"]), batch["y"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
"""
TOML = """
name = "dear"
bundle_version = "1.0"
entry = "dear:Dear"
query_rows = 4
input = {column = "x", shape = [4], dtype = "float32"}
label = {column = "y", shape = [], dtype = "int64"}
answer = {shape = [2], dtype = "float32"}
"""


def measured(directory: Path, monkeypatch: pytest.MonkeyPatch) -> StepMeasured:
    monkeypatch.setattr(costs, "MEASURING_SECONDS", 0.0)
    (event,) = measure_step(pack_bundle(directory))
    assert isinstance(event, StepMeasured)
    return event


def provider(directory: Path, work: str) -> Path:
    directory.mkdir()
    (directory / "provider.toml").write_text(TOML)
    (directory / "dear.py").write_text(DEAR.format(work=work))
    return directory


def test_dear_code_costs_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spared = "assert 'torch._dynamo' not in sys.modules"  # nor does anybody pay for a compiler
    cheap = measured(provider(tmp_path / "cheap", spared), monkeypatch).published
    big = "(torch.ones(len(batch['x']), 8192) @ torch.ones(8192, 512)).sum()"
    dear = measured(provider(tmp_path / "dear", big), monkeypatch).published
    assert dear.milliseconds(64) > 2 * cheap.milliseconds(64)


def test_a_design_is_measured_as_trusted_code_trains_it(monkeypatch: pytest.MonkeyPatch) -> None:
    event = measured(EXAMPLES / "digits_design", monkeypatch)
    on_this_machine = event.published.milliseconds(event.rows) * event.reference_microseconds / 1000
    assert on_this_machine >= 0.9 * event.step_milliseconds  # rounded up, but for the line's fit


def test_code_that_does_not_train_has_no_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refusal, match="provider.raised"):
        measured(provider(tmp_path / "wrong", "raise ValueError"), monkeypatch)
