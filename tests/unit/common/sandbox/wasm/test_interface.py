"""common/sandbox/wasm: what is published and what is checked are one; a designer's life; bounds of an owner's."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.messages.sandbox_bounds import SandboxBounds
from common.model_graph.design import Adjustment, Change
from common.sandbox import wasm
from common.sandbox.protocol import SandboxSeeds
from common.sandbox.wasm.designer import WasmDesigner
from common.sandbox.wasm.interface import FUNCTIONS, INTERFACE, Metrics, Type, metrics_value, profile_value
from common.sandbox.wasm.limits import DEFAULT_LIMITS
from tests.fakes.wasm_components import DESIGN_TEXT, METRICS, PROFILE, component, steering, wasm_bundle

WIT = re.sub(r"//.*", "", Path(wasm.__file__).with_name("design.wit").read_text())
SEEDS = SandboxSeeds(initial=7, stream=8)
CHANGING = """
  (i32.store8 (i32.const 768) (i32.const 1))
  (f64.store (i32.const 776) (local.get 2))
  (f64.store (i32.const 784) (f64.convert_i32_u (local.get 0)))
  (f64.store (i32.const 792) (f64.const 0.25))
  (i32.const 768)
"""


def _wit_types() -> dict[str, Any]:
    """name -> (kind, fields as they are written) of design.wit."""
    found = re.findall(r"(record|variant) ([\w-]+) \{(.*?)\}", WIT, re.DOTALL)
    return {name: (kind, [one.strip() for one in body.split(",") if one.strip()]) for kind, name, body in found}


def _read(text: str, types: dict[str, Any]) -> Type:
    if inner := re.fullmatch(r"list<(.*)>", text):
        return ("list", _read(inner[1], types))
    if text not in types:
        return text
    kind, fields = types[text]
    if kind == "record":
        return ("record", tuple((name, _read(of, types)) for name, of in (one.split(": ") for one in fields)))
    cases = (re.fullmatch(r"([\w-]+)(?:\((.*)\))?", one) for one in fields)
    return ("variant", tuple((case[1], case[2] and _read(case[2], types)) for case in cases if case))


def test_the_published_interface_is_the_one_that_is_checked() -> None:
    types = _wit_types()
    functions = re.findall(r"([\w-]+): func\(([\w-]+): ([\w-]+)\) -> ([\w-]+);", WIT)
    read = {name: ((of, _read(given, types)), _read(made, types)) for name, of, given, made in functions}
    assert read == FUNCTIONS
    package, version = re.findall(r"package ([\w:-]+)@([\d.]+);", WIT)[0]
    assert f"{package}/modelling@{version}" == INTERFACE
    assert "import" not in WIT


def test_a_job_is_designed_steered_and_closed() -> None:
    designer = WasmDesigner.start(wasm_bundle(component(after=steering(CHANGING))), SEEDS)
    with pytest.raises(RuntimeError):
        designer.after_epoch(METRICS, 5)
    outcome = designer.design(PROFILE, 5)
    assert outcome.text == DESIGN_TEXT
    assert outcome.facts is not None
    assert outcome.facts.state_values == 6
    assert outcome.bundle is not None
    assert outcome.bundle.has_design
    assert outcome.bundle.manifest.state_count == 6
    with pytest.raises(RuntimeError):
        designer.design(PROFILE, 5)
    for epoch, loss in ((1, 0.5), (3, 2.0)):
        steered = designer.after_epoch(Metrics(epoch, 10, loss, 0.0), 5)
        adjustment = Adjustment(learning_rate=loss, weight_decay=float(epoch), augmentation=0.25)
        assert steered.change == Change(action="continue", adjustment=adjustment)
    designer.close()
    designer.close()
    assert designer.after_epoch(METRICS, 5).code == "provider.killed"


def test_a_stop_is_a_stop() -> None:
    body = "(i32.store8 (i32.const 768) (i32.const 2)) (i32.const 768)"
    designer = WasmDesigner.start(wasm_bundle(component(after=steering(body))), SEEDS)
    designer.design(PROFILE, 5)
    assert designer.after_epoch(METRICS, 5).change == Change(action="stop")
    designer.close()


@pytest.mark.parametrize(
    "wrong", [{"rows": -1}, {"rows": 1 << 64}, {"trainers": 1 << 32}, {"answer": (-3,)}, {"max_parameters": -1}]
)
def test_numbers_that_the_types_do_not_hold_are_our_own_mistake(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no unsigned number"):
        profile_value(replace(PROFILE, **wrong), 1)


def test_metrics_may_be_no_numbers() -> None:
    value = metrics_value(Metrics(0, 0, float("nan"), float("inf")))
    designer = WasmDesigner.start(wasm_bundle(component()), SEEDS)
    designer.design(PROFILE, 5)
    assert designer.after_epoch(Metrics(0, 0, float("nan"), float("inf")), 5).change is not None
    assert vars(value)["loss-last"] == float("inf")
    designer.close()


def test_an_owner_may_allow_less_memory() -> None:
    """Of what policies can say, 512 MiB is the least, so the usual limit stays."""
    bounds, large = SandboxBounds(memory_bytes=1 << 29), replace(DEFAULT_LIMITS, memory_bytes=1 << 30)
    assert DEFAULT_LIMITS.within(SandboxBounds()) == DEFAULT_LIMITS.within(bounds) == DEFAULT_LIMITS
    assert large.within(bounds).memory_bytes == 1 << 29
