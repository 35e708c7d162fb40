"""Attacks on the `wasm` sandbox before design code runs: what a component may be, and what starting it may cost.

The table (attacks/wasm_components.py) has components that must not start; each differs from one that works (the control
at the top) by the attack alone.
"""

import random
from dataclasses import replace

import pytest
import wasmtime
from wasmtime.component import Component

from common.sandbox.wasm import outline
from common.sandbox.wasm.designer import WasmDesigner
from tests.fakes.wasm_components import METRICS, PROFILE, component, wasm_bundle
from tests.security.sandbox.attacks.wasm_components import BUILTINS, instances, oversized
from tests.security.sandbox.attacks.wasm_table import WASM_TABLE, WasmAttack, play
from tests.security.sandbox.wasm_parts import LIMITS, SEEDS, start, start_code


def test_control_the_component_without_an_attack_designs_and_steers() -> None:
    designer = start(component())
    outcome = designer.design(PROFILE, 10)
    assert outcome.design is not None
    assert designer.after_epoch(METRICS, 10).change is not None
    designer.close()


@pytest.mark.parametrize("attack", [one for one in WASM_TABLE if one.group == "components"], ids=lambda one: one.name)
def test_no_component_of_the_table_starts(attack: WasmAttack) -> None:
    verdict = play(attack)
    assert verdict.blocked, verdict.seen


def test_control_what_is_no_attack_is_not_called_blocked() -> None:
    attack = next(one for one in WASM_TABLE if one.group == "components")
    verdict = play(replace(attack, begin=lambda: start(component())))
    assert (verdict.seen, verdict.blocked) == ("after-epoch: None", False)


def test_control_what_is_as_large_as_the_limit_starts() -> None:
    assert start_code(component(memory=f'(memory (export "memory") {LIMITS.memory_bytes // 65536})')) is None
    assert start_code(component(module=f"(table {LIMITS.table_elements} funcref)")) is None
    assert start_code(instances(LIMITS.core_instances - 1)) is None


@pytest.mark.parametrize("builtin", BUILTINS)
def test_control_wasmtimes_default_settings_take_asynchronous_builtins(builtin: str) -> None:
    assert Component(wasmtime.Engine(), component(outer=f"(core func $builtin (canon {builtin}))")).serialize()


def test_size_is_refused_before_wasmtime_sees_it() -> None:
    assert len(oversized()) > outline.MAX_COMPONENT_BYTES
    with pytest.raises(outline.OutlineError, match="bytes are allowed"):
        outline.read_outline(oversized())


def test_a_nested_component_has_no_code_so_there_is_no_adapter_to_compile() -> None:
    """An adapter between components can be large however small the types that it converts."""
    inner = '(component $inner (core module $m (func (export "f"))))'
    with pytest.raises(outline.OutlineError, match="kind 1 is not part"):
        outline.read_outline(component(outer=inner))


def test_a_truncated_component_is_refused_wherever_it_is_cut() -> None:
    whole = component()
    for end in [*range(64), *range(64, len(whole), 41)]:
        assert start_code(whole[:end]) == "provider.import"


def test_a_spoilt_component_has_an_outcome() -> None:
    """Of 300 components with one to eight changed bytes none raises, ends the process or outlasts its limits."""
    chance = random.Random(7)  # noqa: S311
    whole = component()
    outcomes = set()
    for _ in range(300):
        spoilt = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            spoilt[chance.randrange(8, len(spoilt))] = chance.randrange(256)
        designer = WasmDesigner.start(wasm_bundle(bytes(spoilt)), SEEDS, LIMITS)
        outcomes.add(designer.code or designer.design(PROFILE, 10).code)
        designer.close()
    assert outcomes <= {None, "provider.import", "provider.raised", "provider.timeout", "provider.output"}
    assert "provider.import" in outcomes


def test_compiling_is_given_up_at_the_deadline() -> None:
    """The largest code that is let through; the designer does not wait for it. Control: with time, it starts."""
    code = component(module=_busy_functions(200, 400))
    late = WasmDesigner.start(wasm_bundle(code), SEEDS, LIMITS, deadline_seconds=0.01)
    assert late.code == late.design(PROFILE, 1).code == "provider.timeout"
    assert start_code(code) is None


def _busy_functions(count: int, statements: int) -> str:
    body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 31)) (i32.load (local.get 0))))" * statements
    return f"(func (param i32) {body})" * count
