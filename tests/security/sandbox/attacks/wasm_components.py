"""Attacks of the table by components that must not start: what they want, what they are, what starting them would cost.

Each differs from one that works by the attack alone (side: library).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from common.sandbox.wasm import outline
from tests.fakes.wasm_components import FUNCTIONS, TYPES, component, wat
from tests.security.sandbox.wasm_parts import LIMITS

Made = tuple[str, str, Callable[[], bytes]]
"""Name, what it tries, and how the component is made."""

IMPORTS: Final = {
    "import a function": '(import "host" (func))',
    "import a log": '(import "log" (func (param "text" string)))',
    "import stdout": '(import "wasi:cli/stdout@0.2.0" (instance))',
    "import a clock": '(import "wasi:clocks/wall-clock@0.2.0" (instance (export "now" (func (result u64)))))',
    "import randomness": '(import "wasi:random/random@0.2.0" (instance (export "get-random-u64" (func (result u64)))))',
    "import files": '(import "wasi:filesystem/preopens@0.2.0" (instance))',
    "import code": '(import "code" (core module))',
    "import a type": '(type $kind u32) (import "kind" (type (eq $kind)))',
    "import a resource": '(import "thing" (type (sub resource)))',
}

PROPOSALS: Final = {
    "threads": "(memory $shared 1 1 shared)",
    "atomics": '(func (export "x") (result i32) (i32.atomic.load (i32.const 0)))',
    "several memories": "(memory $more 1)",
    "64-bit memory": "(memory $more i64 1)",
    "garbage collection": "(type $pair (struct (field i32)))",
    "arrays": "(type $many (array i8))",
    "function references": "(type $f (func)) (global (ref null $f) (ref.null $f))",
    "exceptions": "(tag $t)",
    "tail calls": "(func $a (return_call $a))",
    "SIMD": "(func (result v128) (v128.const i64x2 0 0))",
    "relaxed SIMD": "(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))",
    "custom page sizes": "(memory $small 1 (pagesize 1))",
    "wide arithmetic": "(func (result i64 i64) (i64.mul_wide_s (i64.const 1) (i64.const 2)))",
}
"""Of WebAssembly, which design code does not need."""

BUILTINS: Final = ("backpressure.inc", "subtask.drop", "waitable-set.new", "thread.yield")
"""Asynchronous ones, which wasmtime has on by default."""

INTERFACES: Final = {
    "texts without end": ("(result string)", "(result (list string))"),  # 2^20 of 60 MiB each, all at the same place
    "bytes for a text": ("(result string)", "(result (list u8))"),
    "another case": ('(case "continue")', '(case "go-on")'),
    "a factor more": ('(field "augmentation" f64)))', '(field "augmentation" f64) (field "more" f64)))'),
    "a signed seed": ('(field "seed" u64)', '(field "seed" s64)'),
    "another parameter": ('(param "metrics"', '(param "measures"'),
}
"""Parts of the published interface, and what stands there instead."""

OTHER_NAMES: Final = ("cloister:design/modelling@2.0.0", "cloister:design/other@1.0.0", "modelling")

BEGINNINGS: Final = {
    "trap at the start": "(func $bad unreachable) (start $bad)",
    "a segment across the end": f'(data (i32.const {4 * 65536 - 1}) "xx")',
    "a segment far outside": '(data (i32.const 0x7FFFFFFF) "xx")',
    "a segment before memory": '(data (i32.const -1) "xx")',
    "an element outside its table": "(table $t 2 funcref) (func $f) (elem (table $t) (i32.const 2) func $f)",
    "a table over the limit": f"(table {LIMITS.table_elements + 1} funcref)",
    "the largest table": "(table 0xffffffff funcref)",
    "too many tables": "(table 1 funcref)" * (LIMITS.tables + 1),
}
"""Fields of the core module."""


def length(number: int) -> bytes:
    """LEB128 in five bytes."""
    return bytes([(number >> 7 * place) & 0x7F | (0x80 if place < 4 else 0) for place in range(5)])


def oversized() -> bytes:
    """A component with a section of its own that has the most bytes that all may have."""
    size = outline.MAX_COMPONENT_BYTES
    return component() + b"\x00" + length(size) + b"\x01x" + bytes(size - 2)


def nested(depth: int = 2000) -> bytes:
    """Components in components."""
    deep = b""
    for _ in range(depth):
        deep = b"\0asm\x0d\0\x01\0" + (b"\x04" + length(len(deep)) + deep if deep else b"")
    return deep


def instances(count: int) -> bytes:
    """So many core instances beside the one of every component."""
    return component(outer="(core module $e)" + "(core instance (instantiate $e))" * count)


def doubling(times: int) -> str:
    """Records, each of two of the one before: 2^times fields to whoever walks them."""
    return "(type $t0 (tuple u8 u8))" + "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(times))


def _doubled_parameter() -> bytes:
    functions = FUNCTIONS.replace('(param "metrics" $metrics)', '(param "metrics" $t8)')
    after = '(func (export "after") (param i32) (result i32) (i32.const 768))'
    return component(outer=doubling(8), functions=functions, after=after)


def _another_interface(old: str, new: str) -> bytes:
    return component(types=TYPES.replace(old, new), functions=FUNCTIONS.replace(old, new))


def _of_many_sections() -> bytes:
    return component() + b"\x00\x02\x01x" * (outline.MAX_SECTIONS + 1)


def _of_many_functions() -> bytes:
    return component(module="(func)" * (outline.MAX_FUNCTIONS + 1))


def _of_a_large_function() -> bytes:
    return component(module=f"(func {'nop ' * (outline.MAX_FUNCTION_BYTES + 1)})")


def _not_code(raw: bytes) -> bytes:
    return raw


def made() -> Iterator[Made]:
    """All of them."""
    for name, wanted in IMPORTS.items():
        yield name, "reach the host", partial(component, outer=wanted)
    wanted = '(import "env" "system" (func (param i32)))'
    yield "a core module's import", "reach the host", partial(component, imports=wanted)
    yield "a core module", "be no component", partial(wat, '(module (func (export "design")))')
    for number, raw in enumerate((b"(component)", b"", b"\x00", b"\x00asm")):
        yield f"no code {number}", "be no component", partial(_not_code, raw)
    for name, fields in PROPOSALS.items():
        yield name, "use what engines had faults in", partial(component, module=fields)
    for name in BUILTINS:
        yield name, "wait, or run beside", partial(component, outer=f"(core func $builtin (canon {name}))")
    second = "(core module $more (memory 1)) (core instance (instantiate $more))"
    yield "a module's memory", "have a second memory", partial(component, outer=second)
    yield "bytes", "have the compiler work long", oversized
    yield "functions", "have the compiler work long", _of_many_functions
    yield "a large function", "have the compiler work long", _of_a_large_function
    yield "sections", "have the parser work long", _of_many_sections
    inner = '(component $inner (core module $m (func (export "f"))))'
    yield "an adapter", "have the compiler make adapters", partial(component, outer=inner)
    yield "nested components", "have the parser recurse", nested
    yield "types that double", "have the types' walker work long", partial(component, outer=doubling(40))
    yield "a parameter that doubled", "have the types' walker work long", _doubled_parameter
    for name, fields in BEGINNINGS.items():
        yield name, "break out when it is started", partial(component, module=fields)
    pages = LIMITS.memory_bytes // 65536
    for name, size in (("memory over the limit", pages + 1), ("all memory", 65536)):
        yield name, "use up memory", partial(component, memory=f'(memory (export "memory") {size})')
    yield "too many instances", "use up memory", partial(instances, LIMITS.core_instances)
    for name, (old, new) in INTERFACES.items():
        yield name, "return what is not expected", partial(_another_interface, old, new)
    for name in OTHER_NAMES:
        yield f"interface {name}", "be of another version", partial(component, interface=name)
