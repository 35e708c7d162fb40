"""Attacks on the `wasm` sandbox in Python: what a clock, a file, a socket or an output are to a component of CPython.

Such a component has CPython's whole library in it and WASI's calls as stubs. Beside the deeds stand the examples,
from the same component: the sandbox that bears all this still designs. The component is built and compiled once.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from common.sandbox.wasm.designer import WasmDesigner
from common.sandbox.wasm.engine import make_engine
from common.sandbox.wasm.interface import Metrics, Profile, profile_value
from common.sandbox.wasm.outline import read_outline
from tests.fakes.wasm_components import METRICS
from tests.security.sandbox.attacks import wasm_table
from tests.security.sandbox.attacks.wasm_python import LIMITS, Python, deed, profile_of
from tests.security.sandbox.attacks.wasm_table import WASM_TABLE, WasmAttack, play
from tests.security.sandbox.wasm_parts import SECONDS, bounded

pytestmark = pytest.mark.timeout(900)  # the first test builds (12 s) and compiles (15 to 120 s on a busy machine)


@pytest.fixture(scope="module")
def python() -> Python:
    return wasm_table.python()


TABLE = profile_of("features", (30,), "float32", 2)
IMAGES = profile_of("image", (8, 8), "uint8", 10)
TEMPLATE = profile_of("template", (16,), "float32", 2)


def test_a_component_of_python_imports_nothing_and_is_within_the_bounds(python: Python) -> None:
    outline = read_outline(python.component)
    assert outline.functions > 10_000
    engine = make_engine()
    loaded = python.compiled.component(engine, python.component, 800)
    assert loaded.type.imports(engine) == {}


@pytest.mark.parametrize("profile", [TABLE, IMAGES, TEMPLATE], ids=["tabular_mlp", "auto_cnn", "template"])
def test_control_the_examples_design_and_steer(python: Python, profile: Profile) -> None:
    designer = python.start(profile)
    outcome = designer.design(profile, SECONDS)
    assert outcome.code is None
    assert outcome.facts is not None
    assert outcome.bundle is not None
    assert outcome.bundle.manifest.state_count == outcome.facts.state_values
    assert outcome.facts.output.shape == profile.answer
    assert outcome.facts.state_values <= profile.max_parameters
    losses = (1.0, 0.8, 0.9, 0.95, 1.1)
    changes = [designer.after_epoch(Metrics(n, 10 * n, loss, loss), SECONDS).change for n, loss in enumerate(losses)]
    assert all(change is not None and change.action == "continue" for change in changes)
    assert changes[0] is not None
    assert changes[0].adjustment is None
    assert changes[-1] is not None
    assert changes[-1].adjustment is not None
    assert changes[-1].adjustment.learning_rate < 1
    designer.close()


@pytest.mark.parametrize("attack", [one for one in WASM_TABLE if one.group == "python"], ids=lambda one: one.name)
def test_no_deed_of_the_table_is_done_or_heard(attack: WasmAttack, capfd: pytest.CaptureFixture[str]) -> None:
    verdict = play(attack)
    assert verdict.blocked, verdict.seen
    spoken = capfd.readouterr()
    assert (spoken.out, spoken.err) == ("", "")
    assert not Path("/left-behind").exists()


def test_what_an_exception_says_is_not_in_the_outcome(python: Python) -> None:
    assert "4711" not in repr(python.design(deed("exception")))


def test_memory_of_a_python_that_grows_comes_back(python: Python) -> None:
    with bounded(seconds=60, megabytes=LIMITS.memory_bytes / 2**20 + 100):
        assert python.design(deed("grow")).code == "provider.raised"


def test_two_runs_differ_in_nothing(python: Python) -> None:
    """Random numbers, hashes, addresses, the order of a set: all as they were when it was built."""
    told = []
    for _ in range(2):
        designer = python.start(deed("told"))
        told.append(_raw(designer, deed("told")))
        designer.close()
    assert told[0] == told[1]
    assert len(told[0][0]) > 20


def _raw(designer: WasmDesigner, profile: Profile) -> tuple[str, int]:
    assert designer._instance is not None
    text = designer._instance.call("design", profile_value(profile, 1), LIMITS.design_fuel, SECONDS)
    return text, designer._instance._store.get_fuel()


def test_one_job_counts_and_the_next_begins_anew(python: Python) -> None:
    """An attribute of the provider's object, within a job and across jobs."""
    counts = []
    for _ in range(2):
        designer = python.start(TABLE)
        assert designer.design(TABLE, SECONDS).code is None
        for _ in range(3):
            outcome = designer.after_epoch(replace(METRICS, epoch=1000), SECONDS)
            assert outcome.change is not None
            assert outcome.change.adjustment is not None
            counts.append(outcome.change.adjustment.learning_rate)
        designer.close()
    assert counts == [1.0, 2.0, 3.0] * 2


def test_a_factor_that_no_change_has_is_an_exception(python: Python) -> None:
    designer = python.start(TABLE)
    assert designer.design(TABLE, SECONDS).code is None
    assert designer.after_epoch(replace(METRICS, epoch=1001), SECONDS).code == "provider.raised"
    assert designer.after_epoch(METRICS, SECONDS).code == "provider.raised"
    designer.close()
