"""Engines: a checked graph with its state, a batch of rows in, as many answers out (side: sandbox).

N rows of a batch, X shape of an input row, A of an output row. The rows may be of different users' queries: a checked
graph keeps rows apart, and engine_choice.py takes no engine that does not.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from common.sandboxed.engine_report import EngineKind
from common.sandboxed.graph_model import GraphModel
from common.sandboxed.model_state import load_state

Graph = Mapping[str, Any]
Answers = NDArray[np.float32]


class Engine(Protocol):
    """Answers batches of any number of rows. `kind`: what it is."""

    kind: EngineKind

    def answer(self, rows_NX: NDArray[Any]) -> Answers:
        """float32[N, A]. Raises what torch or OpenVINO raises, out of memory above all."""
        ...


class EagerEngine:
    """Torch, operation by operation: the reference."""

    kind = EngineKind.EAGER

    def __init__(self, graph: Graph, state_P: NDArray[np.float32]) -> None:
        self.model = GraphModel(graph)
        load_state(self.model, state_P)
        self.model.eval()

    def answer(self, rows_NX: NDArray[Any]) -> Answers:
        """float32[N, A]."""
        with torch.inference_mode():
            answer_NA: Answers = self.model(torch.from_numpy(np.array(rows_NX))).numpy()
        return answer_NA


class RowByRow:
    """Another engine, asked about each row by itself."""

    def __init__(self, engine: Engine) -> None:
        self.kind, self._engine = engine.kind, engine

    def answer(self, rows_NX: NDArray[Any]) -> Answers:
        """float32[N, A]."""
        return np.concatenate([self._engine.answer(row_1X) for row_1X in np.split(rows_NX, len(rows_NX))])
