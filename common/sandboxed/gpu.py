"""A GPU inside a training sandbox: opened before provider code, fed one step ahead (side: sandbox).

B rows of a batch, N = steps x B rows of a round.

Rows cross to the GPU through two pinned buffers a column, which take turns: the batch of step n + 1 is copied on a
stream of its own while step n is computed. Pinned memory belongs to the driver, so no limit of this process counts it;
it is two batches.

What is set here is for equal runs on one GPU and driver: cuDNN's and torch's deterministic kernels, and no TF32, so
that `fp32` means float32. Operations that have no deterministic kernel run all the same (torch warns), and cuBLAS is
deterministic by its workspace, which the enclave sets (common/sandbox/gpu). Between GPUs of two kinds, or a GPU and a
processor, results differ by rounding.
Source: https://docs.pytorch.org/docs/stable/notes/randomness.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.sandboxed.wire import CUDA

Batch = dict[str, Tensor]


def open_gpu() -> None:
    """Make CUDA's context, and load what training needs first. Raises what torch raises without a usable GPU."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.set_deterministic_debug_mode("warn")  # the other function for this imports torch's compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # lacks a stub
    torch.cuda.init()  # type: ignore[no-untyped-call]  # torch leaves it untyped, and those below
    pixels = torch.ones((1, 3, 8, 8), device=CUDA, requires_grad=True)
    weight = torch.ones((4, 3, 3, 3), device=CUDA, requires_grad=True)
    products = torch.nn.functional.conv2d(pixels, weight).flatten(1).mm(torch.ones((144, 2), device=CUDA))
    products.sum().backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()


class PinnedFeed:
    """The batches of one round, in order, on the GPU."""

    def __init__(self, rows: Mapping[str, NDArray[Any]], steps: int, batch: int) -> None:
        self._rows, self._steps, self._batch = rows, steps, batch
        self._copying = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pinned = [self._buffers(), self._buffers()]
        self._copied = [torch.cuda.Event() for _ in self._pinned]  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[Batch]:
        """Each batch once. A step's tensors are its own: nothing is copied into them later."""
        ahead = self._begin(0)
        for step in range(self._steps):
            columns = ahead
            if step + 1 < self._steps:
                ahead = self._begin(step + 1)
            computing = torch.cuda.current_stream()
            computing.wait_event(self._copied[step % 2])
            for values in columns.values():
                values.record_stream(computing)
            yield columns

    def _buffers(self) -> Batch:
        return {
            name: torch.from_numpy(np.empty((self._batch, *values.shape[1:]), values.dtype)).pin_memory()
            for name, values in self._rows.items()
        }

    def _begin(self, step: int) -> Batch:
        """Begin to copy the batch of a step. What left its buffer before has arrived, two steps ago."""
        pinned, copied = self._pinned[step % 2], self._copied[step % 2]
        copied.synchronize()
        chosen = slice(step * self._batch, (step + 1) * self._batch)
        for name, buffer in pinned.items():
            np.copyto(buffer.numpy(), self._rows[name][chosen])
        with torch.cuda.stream(self._copying):
            columns = {name: buffer.to(CUDA, non_blocking=True) for name, buffer in pinned.items()}
            copied.record(self._copying)
        return columns
