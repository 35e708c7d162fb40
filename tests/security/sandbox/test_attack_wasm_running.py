"""Attacks on the `wasm` sandbox by design code that runs: on time, memory, the values it returns, and on other jobs."""

import json
import time
from dataclasses import replace

import psutil
import pytest

from common.model_graph.reading import parse_design
from common.sandbox.wasm import engine
from common.sandbox.wasm.limits import DEFAULT_LIMITS
from tests.fakes.wasm_components import (
    A_DESIGN,
    DESIGN_TEXT,
    MAX_PARAMETERS,
    METRICS,
    PROFILE,
    answering,
    component,
    designing,
    quoted,
    steering,
)
from tests.security.sandbox.wasm_parts import LIMITS, SECONDS, SEEDS, bounded, design_of, start

FOREVER = "(loop (br 0)) unreachable"


def after_all(body: str) -> str:
    """A `design` with this body, which ends with 512: where the usual design is."""
    return answering().split("(func")[0] + designing(body)


# -- time


def test_an_endless_loop_ends_by_fuel_alike_every_time() -> None:
    """In `design`, and in the allocator that the profile needs, long before the deadline: no matter of speed."""
    endless = f'(func (export "realloc") (param i32 i32 i32 i32) (result i32) {FOREVER})'
    for code in (component(design=designing(FOREVER)), component(realloc=endless)):
        with bounded(seconds=SECONDS / 2, megabytes=100):
            assert design_of(code).code == "provider.timeout"


def test_an_endless_loop_with_fuel_left_ends_at_the_deadline() -> None:
    limits = replace(LIMITS, design_fuel=1 << 60)
    begin = time.monotonic()
    assert design_of(component(design=designing(FOREVER)), limits, seconds=0.5).code == "provider.timeout"
    assert 0.5 <= time.monotonic() - begin < 10


def test_a_deadline_is_its_own_calls_alone() -> None:
    """Many deadlines that were not reached do not end the call after them."""
    designer = start(component())
    assert designer.design(PROFILE, 0.05).code is None
    time.sleep(0.1)
    for _ in range(20):
        assert designer.after_epoch(METRICS, 0.5).code is None
    designer.close()


def test_an_end_that_loops_after_the_result_is_part_of_the_call() -> None:
    """`post-return`, by which a component frees its result."""
    functions = """
      (alias core export $i "post" (core func $post))
      (func $design (param "profile" $profile) (result string)
        (canon lift (core func $core-design) (memory $memory) (realloc $realloc) (post-return $post)))
      (func $after (param "metrics" $metrics) (result $steering)
        (canon lift (core func $core-after) (memory $memory) (realloc $realloc)))
    """
    code = component(functions=functions, module=f'(func (export "post") (param i32) {FOREVER})')
    assert design_of(code).code == "provider.timeout"


def test_what_has_failed_is_not_asked_again() -> None:
    designer = start(component(design=designing("unreachable")))
    assert designer.design(PROFILE, SECONDS).code == "provider.raised"
    begin = time.monotonic()
    for _ in range(1000):
        assert designer.after_epoch(METRICS, SECONDS).code == designer.code == "provider.raised"
    assert time.monotonic() - begin < 1
    designer.close()
    assert designer.after_epoch(METRICS, SECONDS).code == "provider.raised"


# -- memory


GROW_TO_THE_END = """
  (local $got i32)
  (loop $more
    (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
  (i32.store (i32.const 768) (i32.const 1))
  (f64.store (i32.const 776) (f64.convert_i32_u (memory.size)))
  (f64.store (i32.const 784) (f64.const 0))
  (f64.store (i32.const 792) (f64.const 0))
  (i32.const 768)
"""


def test_memory_grows_to_the_limit_and_no_further() -> None:
    """Told as a factor of the learning rate. Control: twice the limit, twice the memory."""
    for memory_bytes in (LIMITS.memory_bytes // 2, LIMITS.memory_bytes):
        designer = start(component(after=steering(GROW_TO_THE_END)), replace(LIMITS, memory_bytes=memory_bytes))
        assert designer.design(PROFILE, SECONDS).code is None
        with bounded(seconds=SECONDS, megabytes=memory_bytes / 2**20 + 50):
            change = designer.after_epoch(METRICS, SECONDS).change
        assert change is not None
        assert change.adjustment is not None
        assert memory_bytes // 65536 - 16 < change.adjustment.learning_rate <= memory_bytes // 65536
        designer.close()


def test_touching_all_memory_costs_no_more_than_the_limit_and_comes_back() -> None:
    fill = "(drop (memory.grow (i32.const 900))) (memory.fill (i32.const 0) (i32.const 1) (i32.const 59000000))"
    code = component(design=designing(f"{fill} {FOREVER}"))
    design_of(code)
    before = psutil.Process().memory_info().rss
    for _ in range(20):
        assert design_of(code).code == "provider.timeout"
    assert psutil.Process().memory_info().rss - before < 2 * LIMITS.memory_bytes


def test_a_table_grows_to_the_limit_and_no_further() -> None:
    grow = f"""
      (loop $more (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))))
      (if (i32.gt_u (table.size $t) (i32.const {LIMITS.table_elements})) (then unreachable))
      (if (i32.lt_u (table.size $t) (i32.const {LIMITS.table_elements - 1000})) (then unreachable))
      (i32.const 512)
    """
    with bounded(seconds=SECONDS, megabytes=100):
        assert design_of(component(design=after_all(grow), module="(table $t 0 funcref)")).code is None


def test_endless_recursion_is_a_trap() -> None:
    deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))"
    code = component(design=designing("(call $deep (i32.const 0))"), module=deep)
    assert design_of(code, replace(LIMITS, design_fuel=1 << 40)).code == "provider.raised"


def test_thousands_of_calls_leave_nothing_behind() -> None:
    designer = start(component(), replace(LIMITS, epoch_fuel=1_000_000))
    designer.design(PROFILE, SECONDS)
    for _ in range(500):
        designer.after_epoch(METRICS, SECONDS)
    with bounded(seconds=60, megabytes=8):
        for _ in range(3000):
            assert designer.after_epoch(METRICS, SECONDS).code is None
    designer.close()


# -- what a call returns


def _result(pointer: int, length: int, before: str = "") -> str:
    """A `design` that returns this place as its text."""
    stores = f"(i32.store (i32.const 512) (i32.const {pointer})) (i32.store (i32.const 516) (i32.const {length}))"
    return designing(f"{before} {stores} (i32.const 512)")


@pytest.mark.parametrize(
    ("pointer", "length"), [(0, 262145), (262144, 1), (-1, 1), (-1, -1), (0x7FFFFFFF, 16), (0, -1), (1024, 0x7FFFFFFF)]
)
def test_a_text_outside_memory_is_a_trap(pointer: int, length: int) -> None:
    assert design_of(component(design=_result(pointer, length))).code == "provider.raised"


@pytest.mark.parametrize("place", ["262140", "-4", "-8", "513", "0x7ffffffc"])
def test_a_result_outside_memory_or_unaligned_is_a_trap(place: str) -> None:
    assert design_of(component(design=designing(f"(i32.const {place})"))).code == "provider.raised"


def test_a_text_of_all_memory_is_no_design() -> None:
    """The largest that can be returned. It is copied, counted and dropped."""
    pages = LIMITS.memory_bytes // 65536 - 8
    size = pages * 65536
    fill = f"(drop (memory.grow (i32.const {pages}))) (memory.fill (i32.const 65536) (i32.const 65) (i32.const {size}))"
    code = component(design=_result(65536, size, fill))
    with bounded(seconds=SECONDS, megabytes=3 * LIMITS.memory_bytes / 2**20):
        assert design_of(code, replace(LIMITS, design_fuel=1 << 40)).code == "provider.output"


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"\xc0\x80", b"\xed\xa0\x80", b"{\x80}", b"\xf4\x90\x80\x80", b"\xe2\x82"]
)
def test_a_text_that_is_no_utf8_is_a_trap(raw: bytes) -> None:
    assert design_of(component(design=answering(raw))).code == "provider.raised"


@pytest.mark.parametrize(
    "body",
    [
        "(i32.const -16)",  # beyond any memory
        "(i32.const 262140)",  # the last four bytes of memory
        "(i32.const 3)",  # unaligned
        "unreachable",
        "(drop (memory.grow (i32.const 60000))) (i32.const -65536)",
    ],
)
def test_an_allocator_that_lies_is_a_trap(body: str) -> None:
    realloc = f'(func (export "realloc") (param i32 i32 i32 i32) (result i32) {body})'
    assert design_of(component(realloc=realloc)).code == "provider.raised"


def test_an_allocator_that_gives_one_place_twice_harms_its_own_component_alone() -> None:
    """All texts and lists of the profile land on each other; another instance at the same time is as it was."""
    other = start(component())
    realloc = '(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))'
    assert design_of(component(realloc=realloc)).text == DESIGN_TEXT
    assert other.design(PROFILE, SECONDS).text == DESIGN_TEXT
    other.close()


def _steered(discriminant: int, *factors: str) -> str:
    stores = "".join(
        f"(f64.store (i32.const {776 + 8 * place}) (f64.const {factor}))" for place, factor in enumerate(factors)
    )
    return steering(f"(i32.store8 (i32.const 768) (i32.const {discriminant})) {stores} (i32.const 768)")


def _after(code: bytes) -> str | None:
    designer = start(code)
    assert designer.design(PROFILE, SECONDS).code is None
    outcome = designer.after_epoch(METRICS, SECONDS)
    designer.close()
    assert (outcome.change is None) == (outcome.code is not None)
    return outcome.code


@pytest.mark.parametrize("discriminant", [3, 4, 255])
def test_a_case_that_steering_does_not_have_is_a_trap(discriminant: int) -> None:
    assert _after(component(after=_steered(discriminant))) == "provider.raised"


@pytest.mark.parametrize(
    ("factors", "code"),
    [
        (("0.5", "1", "1"), None),
        (("nan", "1", "1"), "provider.output"),
        (("inf", "1", "1"), "provider.output"),
        (("1", "-inf", "1"), "provider.output"),
        (("0", "1", "1"), "provider.output"),
        (("-1", "1", "1"), "provider.output"),
        (("1e9", "1", "1"), "provider.output"),
        (("1", "-0.001", "1"), "provider.output"),
        (("1", "1", "1.5"), "provider.output"),
        (("1", "1", "nan:0x7abcdef"), "provider.output"),
    ],
)
def test_a_factor_out_of_bounds_ends_the_design(factors: tuple[str, ...], code: str | None) -> None:
    assert _after(component(after=_steered(1, *factors))) == code


@pytest.mark.parametrize(
    "body",
    [
        "unreachable",
        "(i32.div_s (i32.const 1) (i32.const 0))",
        "(i32.div_s (i32.const 0x80000000) (i32.const -1))",
        "(i32.trunc_f64_s (f64.const nan))",
        "(i32.load (i32.const -4))",
        "(call_indirect $t (type $f) (i32.const 0))",
        "(call_indirect $t (type $f) (i32.const 99))",
        "(call_indirect $t (type $f) (i32.const 1))",
    ],
)
def test_every_trap_is_an_outcome(body: str) -> None:
    """The last three: an empty place of a table, one outside of it, a function of another type."""
    fields = "(type $f (func (result i32))) (table $t 4 funcref) (elem (table $t) (i32.const 1) func $g) (func $g)"
    assert design_of(component(design=designing(body), module=fields)).code == "provider.raised"


# -- what it says of itself


def test_what_design_code_says_reaches_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    """Its names stand in wasmtime's account of a trap. Nothing of that is in an outcome or on an output."""
    secret = "patient-4711-is-ill"
    code = component(
        design=designing(f"(call ${secret})"), module=f'(func ${secret} (export "{secret}") (result i32) unreachable)'
    )
    designer = start(code)
    outcome = designer.design(PROFILE, SECONDS)
    assert secret.encode() in code
    assert secret not in repr(outcome) + repr(designer) + repr(vars(designer))
    spoken = capfd.readouterr()
    assert (spoken.out, spoken.err) == ("", "")


def test_a_refused_design_is_not_repeated_in_the_outcome() -> None:
    text = json.dumps(A_DESIGN | {"patient-4711": "is ill"})
    outcome = design_of(component(design=answering(text)))
    assert outcome.code == "provider.output"
    assert "4711" not in repr(outcome)


# -- designs that are no designs


def _parameters(count: int, side: int) -> list[dict[str, object]]:
    return [{"name": f"p{number}", "shape": [side] * 6, "initial": {"kind": "zeros"}} for number in range(count)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "{}",
        "[" * 500_000,
        '{"graph":' * 90_000,
        "1" * 1_000_000,
        "[" + "1e999," * 100_000 + "1]",
        '"' + "\\u0041" * 150_000 + '"',
        DESIGN_TEXT + " " * (1 << 20),
        DESIGN_TEXT[:-1],
        DESIGN_TEXT + DESIGN_TEXT,
        json.dumps(A_DESIGN | {"version": 2}),
        json.dumps(A_DESIGN | {"graph": A_DESIGN["graph"] | {"parameters": _parameters(1, 1 << 24)}}),
        json.dumps(A_DESIGN | {"graph": A_DESIGN["graph"] | {"parameters": _parameters(4096, 1)}}),
        json.dumps(A_DESIGN | {"graph": A_DESIGN["graph"] | {"nodes": A_DESIGN["graph"]["nodes"] * 4000}}),
    ],
    ids=range(15),
)
def test_json_bombs_and_what_is_no_design_are_outcomes(text: str) -> None:
    with bounded(seconds=SECONDS, megabytes=150):
        assert (
            design_of(component(design=answering(text, at=1 << 18), memory='(memory (export "memory") 40)')).code
            == "provider.output"
        )


def _with_hidden(values: int) -> str:
    """A design with a hidden layer of so many values, and five times as many parameters."""
    shapes = {"v": [values, 2], "w": [3, values]}
    parameters = [{"name": name, "shape": shape, "initial": {"kind": "zeros"}} for name, shape in shapes.items()]
    hidden = {"op": "linear", "name": "hidden", "inputs": ["input"], "weight": "v"}
    out = {"op": "linear", "name": "out", "inputs": ["hidden"], "weight": "w"}
    return json.dumps(A_DESIGN | {"graph": A_DESIGN["graph"] | {"parameters": parameters, "nodes": [hidden, out]}})


def test_a_design_beyond_the_profiles_bounds_is_refused() -> None:
    """Control: within them it is taken."""
    assert design_of(component(design=answering(_with_hidden(MAX_PARAMETERS // 5)))).code is None
    assert design_of(component(design=answering(_with_hidden(MAX_PARAMETERS // 5 + 1)))).code == "provider.output"
    within = replace(PROFILE, max_flops_per_row=MAX_PARAMETERS)
    designer = start(component(design=answering(_with_hidden(MAX_PARAMETERS // 5))))
    assert designer.design(within, SECONDS).code == "provider.output"


@pytest.mark.parametrize(("old", "new"), [("[3, 2]", "[4, 2]"), ('"shape": [2]', '"shape": [1, 2]')])
def test_a_design_for_other_rows_than_the_manifests_is_refused(old: str, new: str) -> None:
    """Its answers, its input's shape; both are valid designs."""
    text = DESIGN_TEXT.replace(old, new)
    parse_design(text.encode())
    assert design_of(component(design=answering(text))).code == "provider.output"


# -- other jobs, other runs


REMEMBERING = """
  (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
  (i32.store (i32.const 4096) (i32.add (i32.load (i32.const 4096)) (i32.const 1)))
  (drop (table.grow $t (ref.null func) (i32.const 1)))
  (drop (memory.grow (i32.const 1)))
  (i32.store8 (i32.const 768) (i32.const 1))
  (f64.store (i32.const 776) (f64.convert_i32_u
    (i32.add (i32.add (global.get $calls) (i32.load (i32.const 4096))) (i32.add (table.size $t) (memory.size)))))
  (f64.store (i32.const 784) (f64.const 0))
  (f64.store (i32.const 792) (f64.const 0))
  (i32.const 768)
"""


def test_one_job_remembers_nothing_of_another() -> None:
    """Globals, memory, a table, their sizes, all summed. Within a job they grow: that is the control."""
    code = component(after=steering(REMEMBERING), module="(global $calls (mut i32) (i32.const 0)) (table $t 0 funcref)")
    seen = []
    for _ in range(2):
        designer = start(code)
        designer.design(PROFILE, SECONDS)
        changes = [designer.after_epoch(METRICS, SECONDS).change for _ in range(3)]
        seen.append([change and change.adjustment and change.adjustment.learning_rate for change in changes])
        designer.close()
    assert seen == [[8.0, 12.0, 16.0]] * 2


def test_two_jobs_at_once_share_nothing() -> None:
    code = component(after=steering(REMEMBERING), module="(global $calls (mut i32) (i32.const 0)) (table $t 0 funcref)")
    one, other = start(code), start(code)
    for designer in (one, other):
        designer.design(PROFILE, SECONDS)
    for _ in range(5):
        one.after_epoch(METRICS, SECONDS)
    change = other.after_epoch(METRICS, SECONDS).change
    assert change is not None
    assert change.adjustment is not None
    assert change.adjustment.learning_rate == 8.0
    one.close()
    other.close()


def test_freed_memory_comes_back_as_zeros() -> None:
    """The first job fills its memory with a mark, the second looks for it."""
    grow = "(drop (memory.grow (i32.const 500)))"
    mark = f"{grow} (memory.fill (i32.const 1048576) (i32.const 77) (i32.const 30000000))"
    look = f"""
      (local $at i32)
      {grow}
      (local.set $at (i32.const 1048576))
      (loop $more
        (if (i64.ne (i64.load (local.get $at)) (i64.const 0)) (then unreachable))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $more (i32.lt_u (local.get $at) (i32.const 30000000))))
    """
    for _ in range(3):
        assert design_of(component(design=after_all(f"{mark} (i32.const 512)"))).code is None
        assert design_of(component(design=after_all(f"{look} (i32.const 512)"))).code is None


NANS = (
    "(f64.div (local.get 1) (local.get 1))",
    "(f64.sub (f64.div (f64.const 1) (local.get 1)) (f64.div (f64.const 1) (local.get 1)))",
    "(f64.add (f64.reinterpret_i64 (i64.const 0x7ff8000000000123)) (local.get 1))",
    "(f64.sqrt (f64.sub (local.get 1) (f64.const 1)))",
)


def _nans_are_canonical() -> list[bool]:
    body = """
      (local f64)
      (if (i64.ne (i64.reinterpret_f64 {}) (i64.const 0x7ff8000000000000)) (then unreachable))
      (i32.const 512)
    """
    return [design_of(component(design=after_all(body.format(one)))).code is None for one in NANS]


def test_no_bit_of_a_nan_tells_one_machine_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign and payload of what 0/0 and its like give are canonical. Control: without the setting they are not."""
    assert _nans_are_canonical() == [True] * len(NANS)
    monkeypatch.setitem(engine.SETTINGS, "cranelift_nan_canonicalization", value=False)
    assert _nans_are_canonical() != [True] * len(NANS)


def test_equal_runs_use_equal_fuel() -> None:
    loop = """
      (local $n i32)
      (loop $more
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $more (i32.lt_u (local.get $n) (i32.const 9999))))
      (i32.const 512)
    """
    spent = set()
    for _ in range(3):
        designer = start(component(design=after_all(loop)))
        assert designer.design(PROFILE, SECONDS).code is None
        assert designer._instance is not None
        spent.add(designer._instance._store.get_fuel())
        designer.close()
    assert len(spent) == 1


def test_the_seed_is_the_only_randomness_and_the_same_for_all_trainers() -> None:
    """The profile's last field, at its place in memory: the job's seed, not the slot's."""
    body = "(if (i64.ne (i64.load offset={} (local.get 0)) (i64.const 1)) (then unreachable)) (i32.const 512)"
    codes = {place: component(design=after_all(body.format(place))) for place in range(0, 256, 8)}
    assert [place for place, code in codes.items() if design_of(code).code is None] == [128]
    assert SEEDS.initial == 1 != SEEDS.stream


def test_the_usual_limits_are_not_larger_than_the_documents_say() -> None:
    assert DEFAULT_LIMITS.memory_bytes == 128 << 20
    assert DEFAULT_LIMITS.design_bytes == 1 << 20


def test_quoted_bytes_are_those() -> None:
    assert quoted(b"\x00a") == '"\\00\\61"'
