"""What a training step of a bundle takes, for its publication (side: owner: the provider's machine).

Rounds of steps of few and of many rows run in the sandbox of a job, on synthetic rows; a line through the least times
of both, divided by this machine's reference step, is rounded up to powers of two. Least times, because what else runs
on the machine only makes them longer. Nothing here saw anybody's data.
"""

import itertools
import math
import time
from collections.abc import Generator
from typing import Final

import numpy as np

from client.checking.designs import DesignRuns
from client.checking.events import StepMeasured
from client.checking.runs import SEEDS, CheckWishes
from client.checking.synthetic import Schema, declared_schema, synthetic_rows, taken
from client.events import Event
from common.bundle import BundleContents, BundleManifest
from common.errors import refusal_of
from common.messages.objects import StepCost
from common.reference_step import STANDARD_MICROSECONDS, reference_microseconds
from common.sandbox.native import NativeTrainingSandbox
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import RoundOutcome, StateP

FEW_ROWS: Final = 8
MANY_ROWS: Final = 64
STEPS: Final = 4
MEASURING_SECONDS: Final = 5.0
LEAST_ROUNDS: Final = 3
"""Of each size at least, however long they take, after one that is not counted: the first one fills caches."""

_ROWS_SEED: Final = 3


def measure_step(contents: BundleContents) -> Generator[Event, None, StepCost]:
    """Yields `StepMeasured`. Raises the refusal by which the code fails, `ConfinementError` where nothing confines.

    Of design code what it designs for synthetic rows is measured; other data may make it design something dearer.
    """
    require_confinement()
    if contents.manifest.designs:
        contents = _designed(contents)
    before = reference_microseconds()
    few, many = _step_microseconds(contents)
    references = [one for one in (before, reference_microseconds()) if one is not None]
    if not references:
        raise refusal_of("unavailable.installation", expected="a reference step on this machine")
    scale = STANDARD_MICROSECONDS / min(references)
    row = max(0.0, (many - few) / (MANY_ROWS - FEW_ROWS))
    fixed = max(0.0, few - FEW_ROWS * row)
    cost = StepCost.of(fixed * scale, 1000 * row * scale)
    yield StepMeasured(
        rows=MANY_ROWS, step_milliseconds=many / 1000, reference_microseconds=min(references), published=cost
    )
    return cost


def _designed(contents: BundleContents) -> BundleContents:
    runs = DesignRuns(contents, declared_schema(contents.manifest), SEEDS)
    steps = list(runs.steps())
    if runs.designed is None:
        raise refusal_of(steps[-1].code or "provider.output", expected="design code that designs", seen=steps[-1].text)
    return runs.designed


def _step_microseconds(contents: BundleContents) -> tuple[float, float]:
    """The least times of a step of few and of many rows."""
    rows = synthetic_rows(_mild_schema(contents.manifest), STEPS * MANY_ROWS, _ROWS_SEED)
    sandbox = NativeTrainingSandbox.start(contents, rows_per_round=STEPS * MANY_ROWS, seeds=SEEDS)
    least = dict.fromkeys((FEW_ROWS, MANY_ROWS), math.inf)
    try:
        state_P = _state_of(sandbox.initial_state(CheckWishes.seconds))
        until = time.perf_counter() + MEASURING_SECONDS
        for number in itertools.count():
            if number > LEAST_ROUNDS and time.perf_counter() > until:
                break
            for batch in least:  # in turn: what the machine does meanwhile meets both alike
                given = taken(rows, 0, STEPS * batch)
                begin = time.perf_counter()
                _state_of(sandbox.run_round(state_P, given, STEPS, batch, CheckWishes.seconds))
                if number:
                    least[batch] = min(least[batch], 1e6 * (time.perf_counter() - begin) / STEPS)
    finally:
        sandbox.close()
    return least[FEW_ROWS], least[MANY_ROWS]


def _mild_schema(manifest: BundleManifest) -> Schema:
    """Whole numbers are 0 or 1: on few large made-up ones, over and over, training may diverge."""
    schema, name = declared_schema(manifest), manifest.input.column
    column = schema.columns[name]
    if np.dtype(column.dtype).kind in "iu":
        mild = column.model_copy(update={"low": 0.0, "high": 1.0})
        return schema.model_copy(update={"columns": schema.columns | {name: mild}})
    return schema


def _state_of(outcome: RoundOutcome) -> StateP:
    if outcome.state_P is None:
        raise refusal_of(outcome.code or "provider.output", expected="code that trains (cloister provider check)")
    return outcome.state_P
