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
from tests.security.sandbox.attacks.wasm_running import FOREVER, NO_DESIGNS, after_all, steered, with_hidden
from tests.security.sandbox.attacks.wasm_table import WASM_TABLE, WasmAttack, play
from tests.security.sandbox.wasm_parts import LIMITS, SECONDS, SEEDS, bounded, design_of, start


@pytest.mark.parametrize("attack", [one for one in WASM_TABLE if one.group == "running"], ids=lambda one: one.name)
def test_no_design_code_of_the_table_gets_through(attack: WasmAttack) -> None:
    verdict = play(attack)
    assert verdict.blocked, verdict.seen


# -- time


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


def test_an_allocator_that_gives_one_place_twice_harms_its_own_component_alone() -> None:
    """All texts and lists of the profile land on each other; another instance at the same time is as it was."""
    other = start(component())
    realloc = '(func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))'
    assert design_of(component(realloc=realloc)).text == DESIGN_TEXT
    assert other.design(PROFILE, SECONDS).text == DESIGN_TEXT
    other.close()


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


def test_a_design_beyond_the_profiles_bounds_is_refused() -> None:
    """Control: within them it is taken (with a value more it is an attack of the table)."""
    assert design_of(component(design=answering(with_hidden(MAX_PARAMETERS // 5)))).code is None
    within = replace(PROFILE, max_flops_per_row=MAX_PARAMETERS)
    designer = start(component(design=answering(with_hidden(MAX_PARAMETERS // 5))))
    assert designer.design(within, SECONDS).code == "provider.output"


def test_control_designs_for_other_rows_are_designs_and_a_factor_within_bounds_is_one() -> None:
    for name in ("other answers", "another input"):
        parse_design(NO_DESIGNS[name].encode())
    designer = start(component(after=steered(1, "0.5", "1", "1")))
    assert designer.design(PROFILE, SECONDS).code is None
    assert designer.after_epoch(METRICS, SECONDS).change is not None
    designer.close()


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
