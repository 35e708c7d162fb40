"""Attacks of the table by design code that runs: on time, memory, and by the values that it returns (side: library)."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from tests.fakes.wasm_components import A_DESIGN, DESIGN_TEXT, MAX_PARAMETERS, answering, component, designing, steering
from tests.security.sandbox.wasm_parts import LIMITS

Made = tuple[str, str, Callable[[], bytes], str]
"""Name, what it tries, how the component is made, and the code that must come of it."""

FOREVER: Final = "(loop (br 0)) unreachable"
_RAISED, _TIMEOUT, _OUTPUT = "provider.raised", "provider.timeout", "provider.output"

BIG_MEMORY: Final = '(memory (export "memory") 40)'

TRAPS: Final = {
    "unreachable": "unreachable",
    "divide by zero": "(i32.div_s (i32.const 1) (i32.const 0))",
    "divide beyond": "(i32.div_s (i32.const 0x80000000) (i32.const -1))",
    "no number to an integer": "(i32.trunc_f64_s (f64.const nan))",
    "load outside": "(i32.load (i32.const -4))",
    "call an empty place": "(call_indirect $t (type $f) (i32.const 0))",
    "call outside the table": "(call_indirect $t (type $f) (i32.const 99))",
    "call another type": "(call_indirect $t (type $f) (i32.const 1))",
}
TABLE_OF_TRAPS: Final = (
    "(type $f (func (result i32))) (table $t 4 funcref) (elem (table $t) (i32.const 1) func $g) (func $g)"
)

TEXTS_OUTSIDE: Final = (
    (0, 262145), (262144, 1), (-1, 1), (-1, -1), (0x7FFFFFFF, 16), (0, -1), (1024, 0x7FFFFFFF),
)  # fmt: skip
"""Pointer and length."""

RESULTS_OUTSIDE: Final = ("262140", "-4", "-8", "513", "0x7ffffffc")

NO_UTF8: Final = (b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"{\x80}", b"\xf4\x90\x80\x80", b"\xe2\x82")

ALLOCATORS: Final = {
    "beyond any memory": "(i32.const -16)",
    "at the end of memory": "(i32.const 262140)",
    "unaligned": "(i32.const 3)",
    "by a trap": "unreachable",
    "beyond what it grew": "(drop (memory.grow (i32.const 60000))) (i32.const -65536)",
    "by a loop": FOREVER,
}

CASES: Final = (3, 4, 255)

FACTORS: Final = (
    ("nan", "1", "1"), ("inf", "1", "1"), ("1", "-inf", "1"), ("0", "1", "1"), ("-1", "1", "1"), ("1e9", "1", "1"),
    ("1", "-0.001", "1"), ("1", "1", "1.5"), ("1", "1", "nan:0x7abcdef"),
)  # fmt: skip


def _parameters(count: int, side: int) -> list[dict[str, object]]:
    return [{"name": f"p{number}", "shape": [side] * 6, "initial": {"kind": "zeros"}} for number in range(count)]


def _graph(**changes: object) -> str:
    return json.dumps(A_DESIGN | {"graph": A_DESIGN["graph"] | changes})


def with_hidden(values: int) -> str:
    """A design with a hidden layer of so many values, and five times as many parameters."""
    shapes = {"v": [values, 2], "w": [3, values]}
    parameters = [{"name": name, "shape": shape, "initial": {"kind": "zeros"}} for name, shape in shapes.items()]
    hidden = {"op": "linear", "name": "hidden", "inputs": ["input"], "weight": "v"}
    out = {"op": "linear", "name": "out", "inputs": ["hidden"], "weight": "w"}
    return _graph(parameters=parameters, nodes=[hidden, out])


NO_DESIGNS: Final = {
    "nothing": "",
    "null": "null",
    "an empty object": "{}",
    "brackets": "[" * 500_000,
    "objects": '{"graph":' * 90_000,
    "a long number": "1" * 1_000_000,
    "many infinities": "[" + "1e999," * 100_000 + "1]",
    "escapes": '"' + "\\u0041" * 150_000 + '"',
    "blanks": DESIGN_TEXT + " " * (1 << 20),
    "a cut": DESIGN_TEXT[:-1],
    "two at once": DESIGN_TEXT + DESIGN_TEXT,
    "another version": json.dumps(A_DESIGN | {"version": 2}),
    "a huge parameter": _graph(parameters=_parameters(1, 1 << 24)),
    "many parameters": _graph(parameters=_parameters(4096, 1)),
    "many nodes": _graph(nodes=A_DESIGN["graph"]["nodes"] * 4000),
    "a field of its own": json.dumps(A_DESIGN | {"patient-4711": "is ill"}),
    "too many values": with_hidden(MAX_PARAMETERS // 5 + 1),
    "other answers": DESIGN_TEXT.replace("[3, 2]", "[4, 2]"),
    "another input": DESIGN_TEXT.replace('"shape": [2]', '"shape": [1, 2]'),
}

POST_RETURN: Final = """
  (alias core export $i "post" (core func $post))
  (func $design (param "profile" $profile) (result string)
    (canon lift (core func $core-design) (memory $memory) (realloc $realloc) (post-return $post)))
  (func $after (param "metrics" $metrics) (result $steering)
    (canon lift (core func $core-after) (memory $memory) (realloc $realloc)))
"""
"""An end of `design` of the component's own, which frees its result."""


def after_all(body: str) -> str:
    """A `design` with this body, which ends with 512: where the usual design is."""
    return answering().split("(func")[0] + designing(body)


def steered(discriminant: int, *factors: str) -> str:
    """An `after-epoch` that returns this case of `steering`, with these factors."""
    stores = "".join(
        f"(f64.store (i32.const {776 + 8 * place}) (f64.const {factor}))" for place, factor in enumerate(factors)
    )
    return steering(f"(i32.store8 (i32.const 768) (i32.const {discriminant})) {stores} (i32.const 768)")


def _result(pointer: int, length: int, before: str = "") -> str:
    """A `design` that returns this place as its text."""
    stores = f"(i32.store (i32.const 512) (i32.const {pointer})) (i32.store (i32.const 516) (i32.const {length}))"
    return designing(f"{before} {stores} (i32.const 512)")


def _all_memory() -> bytes:
    pages = LIMITS.memory_bytes // 65536 - 8
    size = pages * 65536
    fill = f"(drop (memory.grow (i32.const {pages}))) (memory.fill (i32.const 65536) (i32.const 65) (i32.const {size}))"
    return component(design=_result(65536, size, fill))


def _deep() -> bytes:
    deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))"
    return component(design=designing("(call $deep (i32.const 0))"), module=deep)


def _no_design(text: str) -> bytes:
    return component(design=answering(text, at=1 << 18), memory=BIG_MEMORY)


def _text(pointer: int, length: int) -> bytes:
    return component(design=_result(pointer, length))


def _trap(body: str) -> bytes:
    return component(design=designing(body), module=TABLE_OF_TRAPS)


def _allocator(body: str) -> bytes:
    return component(realloc=f'(func (export "realloc") (param i32 i32 i32 i32) (result i32) {body})')


def designed() -> Iterator[Made]:
    """What is played by `design`."""
    yield "loop in design", "never end", partial(_trap, FOREVER), _TIMEOUT
    post = f'(func (export "post") (param i32) {FOREVER})'
    yield "loop behind the result", "never end", partial(component, functions=POST_RETURN, module=post), _TIMEOUT
    yield "recursion", "use up the stack", _deep, _RAISED
    yield "a text of all memory", "use up memory", _all_memory, _OUTPUT
    fill = "(drop (memory.grow (i32.const 900))) (memory.fill (i32.const 0) (i32.const 1) (i32.const 59000000))"
    yield "touch all memory", "use up memory", partial(_trap, f"{fill} {FOREVER}"), _TIMEOUT
    for name, body in TRAPS.items():
        yield f"trap: {name}", "break the engine by a trap", partial(_trap, body), _RAISED
    for pointer, size in TEXTS_OUTSIDE:
        text = partial(_text, pointer, size)
        yield f"text at {pointer}, {size} long", "have memory read that is not its own", text, _RAISED
    for place in RESULTS_OUTSIDE:
        result = partial(_trap, f"(i32.const {place})")
        yield f"result at {place}", "have memory read that is not its own", result, _RAISED
    for raw in NO_UTF8:
        yield f"text {raw.hex()}", "return no UTF-8", partial(component, design=answering(raw)), _RAISED
    for name, body in ALLOCATORS.items():
        code = _TIMEOUT if body == FOREVER else _RAISED
        yield f"allocator lies: {name}", "have memory written that is not its own", partial(_allocator, body), code
    for name, written in NO_DESIGNS.items():
        yield f"design: {name}", "return what is no design within bounds", partial(_no_design, written), _OUTPUT


def after_epochs() -> Iterator[Made]:
    """What is played by `after-epoch`, after a design."""
    yield "loop in after-epoch", "never end", partial(component, after=steering(FOREVER)), _TIMEOUT
    for number in CASES:
        yield f"case {number}", "return a case that there is not", partial(component, after=steered(number)), _RAISED
    for factors in FACTORS:
        steer = partial(component, after=steered(1, *factors))
        yield f"factors {' '.join(factors)}", "steer out of bounds", steer, _OUTPUT
