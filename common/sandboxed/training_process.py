"""The main function of a training sandbox (side: sandbox).

Order: import torch; limits, Landlock, inner filter; say ready; import and build the provider's model; then one round
after the other until the control pipe ends. What provider code raises becomes a status: the enclave is told that, not
what.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer

from common.sandboxed.local_training import Losses, build_model, seed_everything, train_steps
from common.sandboxed.lockdown import confine, read_inner_filter
from common.sandboxed.model_state import flatten_state, layout_of, load_state
from common.sandboxed.windows import Windows
from common.sandboxed.wire import BUNDLE_FOLDER, CONFIGURATION_FILE, Configuration, Operation, Status


class _Trainer:
    """The provider's model and its optimiser, which live through all rounds."""

    def __init__(self, configuration: Configuration) -> None:
        self.model = build_model(configuration.entry, configuration.seed_initial)
        model: Any = self.model
        self.optimizer: Optimizer = model.configure_optimizers()
        self.layout = configuration.layout
        self.initial_P = flatten_state(self.model)
        seed_everything(configuration.seed_stream)

    def run(self, windows: Windows, operation: int, steps: int, batch: int) -> Losses:
        if operation == Operation.INITIAL_STATE:
            load_state(self.model, self.initial_P)
            return Losses(0.0, 0.0)
        load_state(self.model, windows.state_P)
        return train_steps(self.model, self.optimizer, windows.rows(steps * batch), steps, batch)


def main() -> None:
    """Serve until the enclave closes the control pipe."""
    configuration = Configuration.decode(Path(CONFIGURATION_FILE).read_bytes())
    torch.set_num_threads(configuration.compute_threads)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)  # imports what optimisers need, before the clock runs
    windows = Windows(configuration)
    inner_filter = read_inner_filter()
    confine(configuration, inner_filter, scratch=True)
    windows.signal()
    sys.path.insert(0, BUNDLE_FOLDER)
    trainer, failure = _build(configuration)
    while (record := windows.next_record()) is not None:
        sequence, operation, steps, batch, _ = record
        if trainer is None:
            windows.write_header(sequence, failure)
        else:
            _run_unit(windows, trainer, sequence, operation, steps, batch)
        windows.signal()
    os._exit(0)


def _build(configuration: Configuration) -> tuple[_Trainer | None, Status]:
    try:
        trainer = _Trainer(configuration)
        fits = layout_of(trainer.model) == configuration.layout
    except BaseException:  # provider code may raise anything, SystemExit included
        return None, Status.IMPORT
    return (trainer, Status.NOTHING) if fits else (None, Status.OUTPUT)


def _run_unit(windows: Windows, trainer: _Trainer, sequence: int, operation: int, steps: int, batch: int) -> None:
    try:
        losses = trainer.run(windows, operation, steps, batch)
    except BaseException:  # provider code may raise anything, SystemExit included
        windows.write_header(sequence, Status.RAISED)
        return
    try:
        if layout_of(trainer.model) != trainer.layout:
            raise ValueError("the model changed its layout")
        windows.write_body(flatten_state(trainer.model))
    except BaseException:  # tensors of provider code may do anything when they are read
        windows.write_header(sequence, Status.OUTPUT)
        return
    windows.write_header(sequence, Status.DONE, steps, losses.mean, losses.last)
