"""Attacks on the `wasm` sandbox before design code runs: what a component may be, and what starting it may cost.

Each component differs from one that works (the control at the top) by the attack alone.
"""

import random

import pytest
import wasmtime
from wasmtime.component import Component

from common.sandbox.wasm import outline
from common.sandbox.wasm.designer import WasmDesigner
from common.sandbox.wasm.limits import DEFAULT_LIMITS
from tests.fakes.wasm_components import FUNCTIONS, METRICS, PROFILE, TYPES, component, wasm_bundle, wat
from tests.security.sandbox.sandbox_parts import hostile_bundle
from tests.security.sandbox.wasm_parts import LIMITS, SEEDS, bounded, start, start_code


def test_control_the_component_without_an_attack_designs_and_steers() -> None:
    designer = start(component())
    outcome = designer.design(PROFILE, 10)
    assert outcome.design is not None
    assert designer.after_epoch(METRICS, 10).change is not None
    designer.close()


@pytest.mark.parametrize(
    "wanted",
    [
        '(import "host" (func))',
        '(import "log" (func (param "text" string)))',
        '(import "wasi:cli/stdout@0.2.0" (instance))',
        '(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))',
        '(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64)))))',
        '(import "wasi:filesystem/preopens@0.2.0" (instance))',
        '(import "code" (core module))',
        '(type $kind u32) (import "kind" (type (eq $kind)))',
        '(import "thing" (type (sub resource)))',
    ],
)
def test_a_component_that_imports_anything_is_refused(wanted: str) -> None:
    assert start_code(component(outer=wanted)) == "provider.import"


def test_a_core_module_that_imports_has_nobody_to_import_from() -> None:
    """A component that gives its module what it wants must have it from somewhere; one that does not is invalid."""
    lonely = component(imports='(import "env" "system" (func (param i32)))')
    assert start_code(lonely) == "provider.import"


def test_a_core_module_is_no_component() -> None:
    assert start_code(wat('(module (func (export "design")))')) == "provider.import"


def test_text_is_not_taken_for_code() -> None:
    """The binding would compile WAT, whose `(data)` and macros make much of little."""
    assert start_code(b"(component)") == "provider.import"
    assert start_code(b"") == start_code(b"\x00") == start_code(b"\x00asm") == "provider.import"


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


@pytest.mark.parametrize(
    ("proposal", "fields"),
    [
        ("threads", "(memory $shared 1 1 shared)"),
        ("atomics", '(func (export "x") (result i32) (i32.atomic.load (i32.const 0)))'),
        ("several memories", "(memory $more 1)"),
        ("64-bit memory", "(memory $more i64 1)"),
        ("garbage collection", "(type $pair (struct (field i32)))"),
        ("arrays", "(type $many (array i8))"),
        ("function references", "(type $f (func)) (global (ref null $f) (ref.null $f))"),
        ("exceptions", "(tag $t)"),
        ("tail calls", "(func $a (return_call $a))"),
        ("SIMD", "(func (result v128) (v128.const i64x2 0 0))"),
        ("relaxed SIMD", "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))"),
        ("custom page sizes", "(memory $small 1 (pagesize 1))"),
        ("wide arithmetic", "(func (result i64 i64) (i64.mul_wide_s (i64.const 1) (i64.const 2)))"),
    ],
)  # fmt: skip
def test_proposals_that_design_code_does_not_need_are_off(proposal: str, fields: str) -> None:
    assert start_code(component(module=fields)) == "provider.import", proposal


@pytest.mark.parametrize("builtin", ["backpressure.inc", "subtask.drop", "waitable-set.new", "thread.yield"])
def test_asynchronous_builtins_are_off(builtin: str) -> None:
    """wasmtime has them on by default. Control: with its default settings the same component compiles."""
    code = component(outer=f"(core func $builtin (canon {builtin}))")
    assert Component(wasmtime.Engine(), code).serialize()
    assert start_code(code) == "provider.import"


def test_a_second_memory_is_refused_even_in_a_module_of_its_own() -> None:
    second = "(core module $more (memory 1)) (core instance (instantiate $more))"
    assert start_code(component(outer=second)) == "provider.import"


def test_an_oversized_component_is_refused_before_it_is_compiled() -> None:
    size = outline.MAX_COMPONENT_BYTES
    custom = component() + b"\x00" + _length(size) + b"\x01x" + bytes(size - 2)
    assert len(custom) > outline.MAX_COMPONENT_BYTES
    with pytest.raises(outline.OutlineError, match="bytes are allowed"):
        outline.read_outline(custom)


def test_many_functions_and_large_ones_are_refused_before_they_are_compiled() -> None:
    many = component(module="(func)" * (outline.MAX_FUNCTIONS + 1))
    large = component(module=f"(func {'nop ' * (outline.MAX_FUNCTION_BYTES + 1)})")
    with bounded(seconds=10, megabytes=200):
        assert start_code(many) == start_code(large) == "provider.import"


def test_sections_without_end_are_refused() -> None:
    assert start_code(component() + b"\x00\x02\x01x" * (outline.MAX_SECTIONS + 1)) == "provider.import"


def test_a_nested_component_has_no_code_so_there_is_no_adapter_to_compile() -> None:
    """An adapter between components can be large however small the types that it converts."""
    nested = '(component $inner (core module $m (func (export "f"))))'
    with pytest.raises(outline.OutlineError, match="kind 1 is not part"):
        outline.read_outline(component(outer=nested))
    deep = b""
    for _ in range(2000):
        deep = b"\0asm\x0d\0\x01\0" + (b"\x04" + _length(len(deep)) + deep if deep else b"")
    assert start_code(deep) == "provider.import"


def _length(number: int) -> bytes:
    """LEB128 in five bytes."""
    return bytes([(number >> 7 * place) & 0x7F | (0x80 if place < 4 else 0) for place in range(5)])


def test_compiling_is_given_up_at_the_deadline() -> None:
    """The largest code that is let through; the designer does not wait for it. Control: with time, it starts."""
    code = component(module=_busy_functions(200, 400))
    late = WasmDesigner.start(wasm_bundle(code), SEEDS, LIMITS, deadline_seconds=0.01)
    assert late.code == late.design(PROFILE, 1).code == "provider.timeout"
    assert start_code(code) is None


def _busy_functions(count: int, statements: int) -> str:
    body = "(local.set 0 (i32.add (i32.mul (local.get 0) (i32.const 31)) (i32.load (local.get 0))))" * statements
    return f"(func (param i32) {body})" * count


def test_a_start_function_that_loops_runs_out_of_fuel() -> None:
    code = component(module="(func $forever (loop (br 0))) (start $forever)")
    with bounded(seconds=20, megabytes=200):
        assert start_code(code) == "provider.timeout"


def test_a_start_function_that_traps_is_an_outcome() -> None:
    assert start_code(component(module="(func $bad unreachable) (start $bad)")) == "provider.import"


@pytest.mark.parametrize("place", [4 * 65536 - 1, 0x7FFFFFFF, -1])
def test_a_data_segment_beyond_memory_is_refused(place: int) -> None:
    assert start_code(component(module=f'(data (i32.const {place}) "xx")')) == "provider.import"


def test_an_element_segment_beyond_its_table_is_refused() -> None:
    fields = "(table $t 2 funcref) (func $f) (elem (table $t) (i32.const 2) func $f)"
    assert start_code(component(module=fields)) == "provider.import"


def test_memory_beyond_the_limit_is_refused_at_the_start() -> None:
    """Control: a component with as much as the limit starts."""
    pages = LIMITS.memory_bytes // 65536
    with bounded(seconds=20, megabytes=200):
        assert start_code(component(memory=f'(memory (export "memory") {pages + 1})')) == "provider.import"
        assert start_code(component(memory='(memory (export "memory") 65536)')) == "provider.import"
    assert start_code(component(memory=f'(memory (export "memory") {pages})')) is None


def test_tables_beyond_the_limit_are_refused_at_the_start() -> None:
    most = LIMITS.table_elements
    assert start_code(component(module=f"(table {most + 1} funcref)")) == "provider.import"
    assert start_code(component(module="(table 0xffffffff funcref)")) == "provider.import"
    assert start_code(component(module="(table 1 funcref)" * (LIMITS.tables + 1))) == "provider.import"
    assert start_code(component(module=f"(table {most} funcref)")) is None


def test_instances_beyond_the_limit_are_refused_at_the_start() -> None:
    def instances(count: int) -> bytes:
        return component(outer="(core module $e)" + "(core instance (instantiate $e))" * count)

    assert start_code(instances(LIMITS.core_instances)) == "provider.import"
    assert start_code(instances(LIMITS.core_instances - 1)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(result string)", "(result (list string))"),  # 2^20 texts of 60 MiB each, all at the same place
        ("(result string)", "(result (list u8))"),
        ('(case "continue")', '(case "go-on")'),
        ('(field "augmentation" f64)))', '(field "augmentation" f64) (field "more" f64)))'),
        ('(field "seed" u64)', '(field "seed" s64)'),
        ('(param "metrics"', '(param "measures"'),
    ],
)
def test_another_interface_than_the_published_one_is_refused(old: str, new: str) -> None:
    assert old in TYPES + FUNCTIONS
    types, functions = TYPES.replace(old, new), FUNCTIONS.replace(old, new)
    assert start_code(component(types=types, functions=functions)) == "provider.import"


@pytest.mark.parametrize("name", ["cloister:design/modelling@2.0.0", "cloister:design/other@1.0.0", "modelling"])
def test_an_interface_of_another_name_or_version_is_refused(name: str) -> None:
    assert start_code(component(interface=name)) == "provider.import"


def test_types_that_grow_by_doubling_cost_nothing() -> None:
    """40 records, each of two of the one before: 2^40 fields to whoever walks them."""
    doubling = "(type $t0 (tuple u8 u8))" + "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(40))
    with bounded(seconds=10, megabytes=200):
        assert start_code(component(outer=doubling)) == "provider.import"
    few = "(type $t0 (tuple u8 u8))" + "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(8))
    functions = FUNCTIONS.replace('(param "metrics" $metrics)', '(param "metrics" $t8)')
    with bounded(seconds=10, megabytes=200):
        after = '(func (export "after") (param i32) (result i32) (i32.const 768))'
        assert start_code(component(outer=few, functions=functions, after=after)) == "provider.import"


def test_a_native_bundle_does_not_start_here() -> None:
    assert WasmDesigner.start(hostile_bundle(), SEEDS, DEFAULT_LIMITS).code == "provider.import"
