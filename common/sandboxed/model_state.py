"""A model's state as one float32 vector: parameters and floating buffers, in `state_dict()` order (side: sandbox).

P parameters of the state. Integer buffers are left out; other float types are rounded to float32 and back. The vector
is the processor's, wherever the model is.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Layout = tuple[tuple[str, tuple[int, ...]], ...]


def float_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The tensors of the state by name; they share memory with the model."""
    return {name: value for name, value in model.state_dict().items() if value.is_floating_point()}


def layout_of(model: nn.Module) -> Layout:
    """(name, shape) of each tensor of the state."""
    return tuple((name, tuple(value.shape)) for name, value in float_tensors(model).items())


def buffers_of(model: nn.Module) -> set[str]:
    """Names of what is part of the state and trained by no optimiser: running statistics, constants."""
    return {name for name, _ in model.named_buffers()} & float_tensors(model).keys()


def flatten_state(model: nn.Module) -> NDArray[np.float32]:
    """The state as float32[P], a copy."""
    parts = [value.detach().to(torch.float32).reshape(-1) for value in float_tensors(model).values()]
    return np.array(torch.cat(parts).cpu().numpy(), dtype=np.float32)


def load_state(model: nn.Module, state_P: NDArray[np.float32]) -> None:
    """Put float32[P] into the model, in place, so that its optimiser goes on with the same tensors.

    Raises `ValueError` when P is not the model's.
    """
    tensors = float_tensors(model)
    if state_P.shape != (sum(value.numel() for value in tensors.values()),):
        raise ValueError("the state is not of this model's size")
    source, begin = torch.from_numpy(np.array(state_P, dtype=np.float32)), 0
    with torch.no_grad():
        for value in tensors.values():
            value.copy_(source[begin : begin + value.numel()].reshape(value.shape))
            begin += value.numel()
