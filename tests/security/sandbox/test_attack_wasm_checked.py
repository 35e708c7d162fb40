"""The `wasm` sandbox as it is under Gramine: every access checked in code, no guard pages, no signals.

Design code computes the same to the bit, uses the same fuel, and gets as little through. This needs no Gramine; with it
the whole suite runs inside (tests/integration/test_gramine_attacks.py).
"""

import struct

import pytest

from common.sandbox.wasm import engine
from common.sandbox.wasm.engine import CHECKED, SETTINGS, compile_within, make_engine
from common.sandbox.wasm.instance import Instance
from common.sandbox.wasm.interface import profile_value
from common.sandbox.wasm.limits import DEFAULT_LIMITS
from tests.fakes.wasm_components import METRICS, PROFILE, component, designing, steering
from tests.security.sandbox.attacks.wasm_table import WASM_TABLE, WasmAttack, play
from tests.security.sandbox.wasm_parts import SECONDS, design_of, start


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "settings_here", lambda: SETTINGS | CHECKED)


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("attack", [one for one in WASM_TABLE if one.group == "running"], ids=lambda one: one.name)
def test_no_design_code_of_the_table_gets_through(attack: WasmAttack) -> None:
    verdict = play(attack)
    assert verdict.blocked, verdict.seen


ARITHMETIC = """
  (local $x f64) (local $n i32)
  (local.set $x (f64.const 0.1))
  (local.set $n (i32.const 1000))
  (loop $more
    (local.set $x (f64.div (f64.sqrt (f64.add (local.get $x) (f64.const 1e-3))) (f64.const 1.0000001)))
    (f64.store (i32.const 1024) (local.get $x))
    (local.set $x (f64.mul (f64.load (i32.const 1024)) (f64.const 0.999)))
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if $more (local.get $n)))
  (i32.store8 (i32.const 768) (i32.const 1))
  (f64.store (i32.const 776) (local.get $x))
  (f64.store (i32.const 784) (f64.const 1))
  (f64.store (i32.const 792) (f64.const 0.5))
  (i32.const 768)
"""
"""An `after-epoch` whose factor is the end of a thousand roundings."""


def factor() -> bytes:
    designer = start(component(after=steering(ARITHMETIC)))
    assert designer.design(PROFILE, SECONDS).code is None
    change = designer.after_epoch(METRICS, SECONDS).change
    designer.close()
    assert change is not None
    assert change.adjustment is not None
    return struct.pack("<d", change.adjustment.learning_rate)


def test_what_it_computes_is_the_same_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "settings_here", lambda: SETTINGS)
    by_signals = factor(), design_of(component()).text
    monkeypatch.setattr(engine, "settings_here", lambda: SETTINGS | CHECKED)
    assert (factor(), design_of(component()).text) == by_signals


def fuel_used(settings: dict[str, bool | int | str]) -> int:
    made = make_engine(settings)
    instance = Instance.start(made, compile_within(made, component(), SECONDS), DEFAULT_LIMITS, SECONDS)
    instance.call("design", profile_value(PROFILE, 1), DEFAULT_LIMITS.design_fuel, SECONDS)
    left: int = instance._store.get_fuel()
    instance.close()
    return DEFAULT_LIMITS.design_fuel - left


def test_it_uses_the_same_fuel() -> None:
    assert fuel_used(SETTINGS) == fuel_used(SETTINGS | CHECKED) > 0


@pytest.mark.usefixtures("checked")
def test_a_trap_is_none_of_the_processors() -> None:
    """Control: what reads outside its memory is ended all the same."""
    outside = component(design=designing("(drop (i32.load (i32.const -4))) (i32.const 512)"))
    assert design_of(outside).code == "provider.raised"


def test_what_one_engine_compiled_is_not_loaded_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "settings_here", lambda: SETTINGS)
    plain = engine.fingerprint()
    monkeypatch.setattr(engine, "settings_here", lambda: SETTINGS | CHECKED)
    assert engine.fingerprint() != plain
