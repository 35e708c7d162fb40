"""One engine, whatever is faster: what bench/serve_builds puts in the place of the choice (side: sandbox).

In such a build this file stands in common/sandboxed, where it is measured with the rest; in the product it does not
exist. N rows of a batch.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.sandboxed.engine_choice import BATCH, Made, random_rows
from common.sandboxed.engine_report import EngineKind, EngineReport, Reason
from common.sandboxed.engines import EagerEngine, Engine, Graph


def forced(kind: EngineKind) -> Callable[..., Made]:
    """In the place of `choose_engine`. Ranges of int8 are of random rows: its speed does not depend on them."""

    def choose_engine(graph: Graph, state_P: NDArray[np.float32], *_: Any, threads: int = 1, **__: Any) -> Made:
        engine = _make(kind, graph, state_P, threads)
        for count in (1, BATCH):  # compiled before the first query, as the choice does
            engine.answer(random_rows(graph, count))
        return engine, EngineReport(kind, Reason.MEASURED)

    return choose_engine


def _make(kind: EngineKind, graph: Graph, state_P: NDArray[np.float32], threads: int) -> Engine:
    if kind is EngineKind.EAGER:
        return EagerEngine(graph, state_P)
    from common.sandboxed.openvino_engine import OpenVinoEngine
    from common.sandboxed.quantising import calibrate  # where there is no OpenVINO, as for provider code, neither loads

    if kind is EngineKind.OPENVINO_INT8:
        ranges = calibrate(graph, EagerEngine(graph, state_P), random_rows(graph, BATCH))
        return OpenVinoEngine(kind, graph, state_P, threads=threads, ranges=ranges)
    return OpenVinoEngine(kind, graph, state_P, threads=threads)
