"""Which engine answers for a graph: the fastest of those that agree with eager torch (side: sandbox).

N rows of a batch, X shape of an input row, A of an output row. Once, before the first query, in this order:
  (1) eager torch answers some rows one by one, in float32: the reference. If it answers them otherwise among hostile
      neighbours, it will be asked about each row by itself;
  (2) OpenVINO compiles the graph in float32, and in bfloat16 if the model may be answered so and the processor has
      units for it. Left out is an engine whose answers differ from the reference by more than `TOLERANCES`, or among
      hostile neighbours from its own by more than `APART_TOLERANCES`;
  (3) rows a second are measured in batches of one and of `BATCH`; the highest product of both wins.
Which engine wins depends on the machine and on the moment. Engines in float32 answer alike in the first three digits,
so that a model answers the same wherever and however often it is launched; bfloat16 does not, so it is never raced for
unless it was asked for. int8 is not raced for at all: where a model was judged in it, it answers wherever it passes
(2), and float32 elsewhere. Rows are random: of data and queries nothing is used. Hostile neighbours are NaN, infinite
and huge where the type has such values, the ends of its range else. Whatever fails, eager torch answers, and the report
says why.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.sandboxed.engine_report import EngineKind, EngineReport, Precision, Reason
from common.sandboxed.engines import Answers, EagerEngine, Engine, Graph, RowByRow

BATCH: Final = 16
"""Of the measurement, as of bench/engines."""

CHECKED_ROWS: Final = 2

BATCH_SECONDS: Final = 4.0
"""What a batch may take eager torch here: of a slow graph batches have fewer rows than `BATCH`, at least one more than
those that are checked."""

MEASURE_SECONDS: Final = 0.05
"""Of a measurement. One run warms up, unless it takes that long."""

CHOICE_SECONDS: Final = 20.0
"""After this eager torch it is, whatever still compiles. A sandbox may take 60 s to start (common/sandbox/protocol)."""

TOLERANCES: Final = {EngineKind.OPENVINO_FP32: 1e-3, EngineKind.OPENVINO_BF16: 5e-2, EngineKind.OPENVINO_INT8: 0.5}
"""Largest difference from the reference in a row of answers, over the largest answer of that row. Sums in another order
change a float32 by some 1e-6 a layer; a bfloat16 has 8 bits, so each value of each layer is rounded by up to 2^-9.
int8 was judged on the owner's rows, of which its ranges are; on random ones within the input's range it need only be
no other model. Beyond that range it is another one: what is beyond is cut off."""

COMPARED: Final = {
    Precision.FLOAT32: (EngineKind.OPENVINO_FP32,),
    Precision.BFLOAT16: (EngineKind.OPENVINO_FP32, EngineKind.OPENVINO_BF16),
    Precision.INT8: (EngineKind.OPENVINO_INT8, EngineKind.OPENVINO_FP32),
}
"""Of OpenVINO, by the lowest precision that is allowed."""

APART_TOLERANCES: Final = {
    EngineKind.EAGER: 1e-4,
    EngineKind.OPENVINO_FP32: 1e-4,
    EngineKind.OPENVINO_BF16: 2e-2,
    EngineKind.OPENVINO_INT8: 2e-2,
}
"""Largest change of an answer by its neighbours, over the largest answer of that row: kernels for other batch sizes add
in another order, and may round elsewhere."""

Made = tuple[Engine, EngineReport]
Known = tuple[NDArray[Any], Answers]
"""Rows, and the reference for them."""

Maker = Callable[[EngineKind], Engine | Reason]
RangesV2 = tuple[tuple[float, float], ...]
"""Lowest and highest of the input and of each value that int8 needs a range of, in the graph's order."""


def choose_engine(
    graph: Graph,
    state_P: NDArray[np.float32],
    precision: Precision = Precision.FLOAT32,
    ranges_V2: RangesV2 = (),
    *,
    threads: int = 1,
) -> Made:
    """The engine that answers, in no lower `precision`; `ranges_V2` of int8. Raises what eager torch raises."""
    eager: Engine = EagerEngine(graph, state_P)
    rows = random_rows(graph, CHECKED_ROWS, ranges_V2[0] if ranges_V2 else None)
    begin = time.monotonic()
    reference = RowByRow(eager).answer(rows)
    seconds = (time.monotonic() - begin) / len(rows)
    batch = int(min(max(BATCH_SECONDS / max(seconds, 1e-9), CHECKED_ROWS + 1), BATCH))
    apart = not is_independent(eager, graph, rows, reference, batch)
    if apart:
        eager = RowByRow(eager)
    found: list[Made] = []

    def compare() -> None:
        make = openvino_maker(graph, state_P, threads, ranges_V2)
        many, checked = random_rows(graph, batch), list[Engine | Reason]()
        for kind in COMPARED[precision]:
            checked.append(checked_engine(kind, graph, (rows, reference), batch, make))
            if kind is EngineKind.OPENVINO_INT8 and not isinstance(judged := checked[-1], Reason):
                found.append((judged, EngineReport(kind, Reason.MEASURED, *_rates(judged, many))))
                return
        found.append(_fastest(eager, checked, many))

    comparing = threading.Thread(target=compare, daemon=True)
    try:
        comparing.start()
    except RuntimeError:  # no thread within the limits: OpenVINO would want more
        return eager, EngineReport(eager.kind, Reason.FAILED, apart=apart)
    comparing.join(CHOICE_SECONDS)
    return found[0] if found else (eager, EngineReport(eager.kind, Reason.LATE, apart=apart))


def openvino_maker(graph: Graph, state_P: NDArray[np.float32], threads: int, ranges_V2: RangesV2 = ()) -> Maker:
    """Makes OpenVINO's engines, or says why there is none."""

    def make(kind: EngineKind) -> Engine | Reason:
        try:
            from common.sandboxed.openvino_engine import OpenVinoEngine, computes_in
            from common.sandboxed.openvino_graph import UnsupportedGraphError, named_ranges
        except (ImportError, OSError):
            return Reason.ABSENT
        if not computes_in(kind):
            return Reason.ABSENT
        ranges = named_ranges(graph, ranges_V2) if kind is EngineKind.OPENVINO_INT8 else None
        try:
            return OpenVinoEngine(kind, graph, state_P, threads=threads, ranges=ranges)
        except UnsupportedGraphError:
            return Reason.UNSUPPORTED

    return make


def _fastest(eager: Engine, compared: list[Engine | Reason], many: NDArray[Any]) -> Made:
    engines = [eager, *(one for one in compared if not isinstance(one, Reason))]
    rates = [_rates(engine, many) for engine in engines]
    best = max(range(len(engines)), key=lambda at: rates[at][0] * rates[at][1])
    chosen = engines[best]
    refusals = [one for one in compared if isinstance(one, Reason)]
    reason = Reason.MEASURED if len(engines) > 1 else refusals[0]
    return chosen, EngineReport(chosen.kind, reason, *rates[best], apart=isinstance(chosen, RowByRow))


def _rates(engine: Engine, many: NDArray[Any]) -> tuple[float, float]:
    return measure(engine, many[:1]), measure(engine, many)


def checked_engine(kind: EngineKind, graph: Graph, known: Known, batch: int, make: Maker) -> Engine | Reason:
    """A new engine that agrees with what is `known` and keeps rows apart, or what it fails in."""
    rows, reference = known
    try:
        engine = make(kind)
        if isinstance(engine, Reason):
            return engine
        alone = RowByRow(engine).answer(rows)
        if difference(alone, reference) > TOLERANCES[kind]:
            return Reason.DISAGREES
        return engine if is_independent(engine, graph, rows, alone, batch) else Reason.MIXES
    except Exception:  # what OpenVINO raises, out of memory above all
        return Reason.FAILED


def is_independent(engine: Engine, graph: Graph, rows: NDArray[Any], alone: Answers, batch: int) -> bool:
    """Whether `rows` are answered as `alone` among hostile neighbours, wherever they stand in a batch."""
    tolerance = APART_TOLERANCES[engine.kind]
    for places, neighbours in _arrangements(graph, rows, batch):
        if difference(engine.answer(neighbours)[places], alone) > tolerance:
            return False
    return True


def _arrangements(graph: Graph, rows: NDArray[Any], batch: int) -> Iterator[tuple[list[int], NDArray[Any]]]:
    """Batches with `rows` in them and where they stand: at the ends, and in the middle where there is room."""
    hostile = hostile_rows(graph, batch)
    inner = batch // 2
    for first, second in {(0, batch - 1), (inner, min(inner + 1, batch - 1))}:
        if first != second:
            hostile[first], hostile[second] = rows
            yield [first, second], hostile.copy()
            hostile = hostile_rows(graph, batch)


def difference(answers: Answers, reference: Answers) -> float:
    """Largest difference within a row over the row's largest reference; infinite where only one of them is finite."""
    count = len(reference)
    seen, wanted = answers.reshape(count, -1).astype(np.float64), reference.reshape(count, -1).astype(np.float64)
    if (np.isfinite(seen) != np.isfinite(wanted)).any():
        return float("inf")
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.abs(np.where(np.isfinite(wanted), wanted, 0.0)).max(axis=1)
        apart = np.where(np.isfinite(wanted), np.abs(seen - wanted), 0.0).max(axis=1)
        return float(np.max(apart / np.maximum(scale, np.finfo(np.float32).tiny)))


def measure(engine: Engine, rows_NX: NDArray[Any]) -> float:
    """Rows a second."""
    begin = time.perf_counter()
    engine.answer(rows_NX)
    seconds, runs = time.perf_counter() - begin, 1
    if seconds < MEASURE_SECONDS:
        begin, runs = time.perf_counter(), 0
        while (seconds := time.perf_counter() - begin) < MEASURE_SECONDS:
            engine.answer(rows_NX)
            runs += 1
    return runs * len(rows_NX) / seconds


def random_rows(graph: Graph, count: int, within: tuple[float, float] | None = None) -> NDArray[Any]:
    """Normal numbers for a float, for an integer such of a byte that its type has; the same each time.

    `within` a range all numbers are as likely.
    """
    draw = np.random.default_rng(0)
    shape, dtype = (count, *graph["input"]["shape"]), np.dtype(graph["input"]["dtype"])
    if dtype.kind == "f":
        return (draw.normal(size=shape) if within is None else draw.uniform(*within, size=shape)).astype(dtype)
    least, most = 0, 1 if dtype.kind == "b" else min(255, int(np.iinfo(dtype).max))
    if within is not None and dtype.kind != "b":
        least = max(math.ceil(within[0]), int(np.iinfo(dtype).min))
        most = max(least, min(math.floor(within[1]), int(np.iinfo(dtype).max)))
    return draw.integers(least, most + 1, shape).astype(dtype)


def hostile_rows(graph: Graph, count: int) -> NDArray[Any]:
    """Rows full of one hostile value each, in turn."""
    shape, dtype = tuple(graph["input"]["shape"]), np.dtype(graph["input"]["dtype"])
    if dtype.kind == "f":
        values: list[Any] = [np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).min, 1e20]
    elif dtype.kind == "b":
        values = [True, False]
    else:
        values = [np.iinfo(dtype).max, np.iinfo(dtype).min]
    return np.stack([np.full(shape, values[at % len(values)], dtype) for at in range(count)])
