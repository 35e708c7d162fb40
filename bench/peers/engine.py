"""The engine that every plain server runs: a provider's model, rows in, scores out (side: library).

Runs in a peer's own environment, so it imports nothing of ours. `SERVE_BUNDLE` names the provider's directory,
`SERVE_ENGINE` who computes: `eager`, torch in float32, or `bf16`, OpenVINO in bfloat16. One thread
computes in each process, as in our sandbox. B rows of a batch.
"""

import importlib
import os
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

MAX_BATCH: Final = 32
BATCH_SECONDS: Final = 0.005
"""Longest batch, and how long a server may wait to fill one; the same in all that batch."""


class Engine:
    """The model, warmed up with batches of each size that is a power of two."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        folder = Path(os.environ["SERVE_BUNDLE"])
        described = tomllib.loads((folder / "provider.toml").read_text())
        sys.path.insert(0, str(folder))
        module, _, name = described["entry"].partition(":")
        self._shape = tuple(described["input"]["shape"])
        model = getattr(importlib.import_module(module), name)().eval()
        self._answer = {"eager": _eager, "bf16": _openvino}[os.environ["SERVE_ENGINE"]](model, self._shape)
        for power in range(MAX_BATCH.bit_length()):
            self.scores([bytes(int(np.prod(self._shape)))] * 2**power)

    def scores(self, rows: Sequence[bytes]) -> list[list[float]]:
        """Ten scores for each row of raw uint8 values."""
        x_BX = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), *self._shape)
        told: list[list[float]] = self._answer(x_BX.copy()).tolist()
        return told


def _eager(model: torch.nn.Module, _shape: tuple[int, ...]) -> Callable[[Any], Any]:
    def answer(x_BX: Any) -> Any:
        with torch.inference_mode():
            return model(torch.from_numpy(x_BX))

    return answer


def _openvino(model: torch.nn.Module, shape: tuple[int, ...]) -> Callable[[Any], Any]:
    """As OpenVINO's page on PyTorch models has it."""
    import openvino

    example = torch.zeros((2, *shape), dtype=torch.uint8)
    converted = openvino.convert_model(model, example_input=example, input=[-1, *shape])
    settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    compiled = openvino.compile_model(converted, "CPU", settings)
    return lambda x_BX: compiled(x_BX)[0]
