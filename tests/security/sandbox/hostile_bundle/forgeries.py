# mypy: ignore-errors
"""Lies in the output buffer and on the pipes (side: sandbox). Each acts behind the back of the code that serves it."""

import os
import threading
import time

import torch
from attempting import window_fd, windows

_DONE = 1


def _claim(sequence: int, status: int = _DONE, steps: int = 1, mean: float = 0.0) -> None:
    """Fill in the header, say that the unit of work is done, and go on."""
    windows().write_header(sequence, status, steps, mean, 0.0)
    os.write(window_fd("completion_fd"), b"x")
    time.sleep(3600)


def _sequence() -> int:
    return int.from_bytes(bytes(windows()._output[:8]), "little") + 1


def old_sequence(model) -> None:
    _claim(_sequence() - 1)


def future_sequence(model) -> None:
    _claim(_sequence() + 1)


def strange_status(model) -> None:
    _claim(_sequence(), status=99)


def more_steps(model) -> None:
    _claim(_sequence(), steps=1 << 31)


def loss_not_a_number(model) -> None:
    _claim(_sequence(), mean=float("nan"))


def early_completion(model) -> None:
    os.write(window_fd("completion_fd"), b"x" * 1000)
    time.sleep(3600)


def close_pipes(model) -> None:
    os.close(window_fd("completion_fd"))
    time.sleep(3600)


def flood_completions(model) -> None:
    """More bytes than the pipe holds: it waits until the enclave has read some."""
    while True:
        os.write(window_fd("completion_fd"), bytes(1 << 16))


def late_writer(model) -> None:
    """A thread goes on writing to the output, also while the enclave looks at it: finite numbers and others in turn."""
    output = windows()._output

    def write() -> None:
        values = (b"\0\0\xc0\x7f" * 32, b"\0\0\x80\x3f" * 32)  # NaN, 1.0
        while True:
            for value in values:
                output[64 : 64 + len(value)] = value

    threading.Thread(target=write, daemon=True).start()


def lying_tensor(model) -> None:
    """A parameter whose class gives other numbers than it says, when they are read."""

    class Liar(torch.Tensor):
        def detach(self):
            return torch.zeros(3)

    model._parameters["report"] = torch.zeros(64).as_subclass(Liar)


def larger_state(model) -> None:
    model.report = torch.nn.Parameter(torch.zeros(128))


def other_type(model) -> None:
    model.report = torch.nn.Parameter(torch.zeros(64, dtype=torch.complex64))


def more_tensors(model) -> None:
    model.more = torch.nn.Parameter(torch.zeros(64))


FORGERIES = (
    old_sequence, future_sequence, strange_status, more_steps, loss_not_a_number, early_completion, close_pipes,
    flood_completions, late_writer, lying_tensor, larger_state, other_type, more_tensors,
)  # fmt: skip
