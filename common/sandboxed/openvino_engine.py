"""OpenVINO as an engine for a checked graph (side: sandbox).

N rows of a batch, X shape of an input row, A of an output row. Imported only where a graph is served, and only there
may threads be started (common/sandbox/seccomp): OpenVINO runs requests in one of its own.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from openvino._pyopenvino import Core, Tensor

from common.sandboxed.engine_report import EngineKind
from common.sandboxed.engines import Answers, Graph
from common.sandboxed.openvino_graph import Ranges, State, convert, fed, feed_dtype

PRECISIONS: Final[Mapping[EngineKind, str]] = {
    EngineKind.OPENVINO_FP32: "f32",
    EngineKind.OPENVINO_BF16: "bf16",
    EngineKind.OPENVINO_INT8: "bf16",  # of what is not rounded to int8
}
"""OpenVINO's property INFERENCE_PRECISION_HINT."""


_UNITS: Final = {EngineKind.OPENVINO_FP32: "FP32", EngineKind.OPENVINO_BF16: "BF16", EngineKind.OPENVINO_INT8: "INT8"}


def computes_in(kind: EngineKind) -> bool:
    """Whether this processor has units for it: without them OpenVINO computes in float32, or slowly."""
    return _UNITS[kind] in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def state_of(graph: Graph, state_P: NDArray[np.float32]) -> State:
    """The state's tensors by the document's names."""
    tensors, begin = {}, 0
    for one in graph["parameters"]:
        count = int(np.prod(one["shape"], dtype=np.int64))
        tensors[one["name"]] = state_P[begin : begin + count].reshape(one["shape"])
        begin += count
    return tensors


class OpenVinoEngine:
    """OpenVINO on the processor: the graph compiled for it, in one precision, for any number of rows.

    Raises `UnsupportedGraphError`, `ImportError` without OpenVINO, `RuntimeError` where it does not compile.
    """

    def __init__(
        self,
        kind: EngineKind,
        graph: Graph,
        state_P: NDArray[np.float32],
        *,
        threads: int = 1,
        ranges: Ranges | None = None,
    ) -> None:
        self.kind, self._dtype = kind, feed_dtype(graph)
        core = Core()
        properties = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
            "INFERENCE_PRECISION_HINT": PRECISIONS[kind],
        }
        model = convert(graph, state_of(graph, state_P), ranges)
        self._request = core.compile_model(model, "CPU", properties).create_infer_request()

    def answer(self, rows_NX: NDArray[Any]) -> Answers:
        """float32[N, A]."""
        results = self._request.infer(Tensor(fed(rows_NX, self._dtype), shared_memory=True), True, True)
        return np.array(next(iter(results.values())))
