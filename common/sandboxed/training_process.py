"""The main function of a training sandbox (side: sandbox).

Order: import torch; count refused calls, if so configured; limits, Landlock; open the GPU, if so configured; inner
filter; say ready; import and build the provider's model, or that of a design; then one round after the other until the
control pipe ends. Where the GPU can't be opened the child ends before it is ready. What provider
code raises becomes a status: the enclave is told that, not what.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch import nn
from torch.optim import Optimizer

from common.sandboxed.design_training import Columns, DesignTraining
from common.sandboxed.eager_optimisers import spare_compiler
from common.sandboxed.gpu import open_gpu
from common.sandboxed.gpu_probe import make_thread_folders
from common.sandboxed.graph_model import read_design
from common.sandboxed.local_training import Losses, build_model, seed_everything, train_steps
from common.sandboxed.lockdown import confine, read_inner_filter
from common.sandboxed.model_state import flatten_state, layout_of, load_state
from common.sandboxed.trapping import on_refused_call
from common.sandboxed.windows import Windows
from common.sandboxed.wire import (
    BUNDLE_FOLDER,
    CONFIGURATION_FILE,
    CUDA,
    Configuration,
    Course,
    Operation,
    Record,
    Status,
)


class _Training(Protocol):
    """A model with its optimiser, which live through all rounds."""

    @property
    def model(self) -> nn.Module: ...

    def train(self, rows: dict[str, NDArray[Any]], steps: int, batch: int, course: Course) -> Losses: ...


class _ProviderTraining:
    """By provider code."""

    def __init__(self, configuration: Configuration) -> None:
        self._device = configuration.device
        self.model = build_model(configuration.entry, configuration.seed_initial, self._device)
        model: Any = self.model
        self.optimizer: Optimizer = model.configure_optimizers()
        seed_everything(configuration.seed_stream)

    def train(self, rows: dict[str, NDArray[Any]], steps: int, batch: int, course: Course) -> Losses:
        return train_steps(self.model, self.optimizer, rows, steps, batch, bf16=course.bf16, device=self._device)


class Trainer:
    """Moves states in and out of a training. Raises what provider code raises."""

    def __init__(self, configuration: Configuration) -> None:
        self.training = _make_training(configuration)
        self.model = self.training.model
        self.layout = configuration.layout
        self.initial_P = flatten_state(self.model)

    def run(self, windows: Windows, record: Record) -> Losses:
        """One unit of work."""
        if record.operation == Operation.INITIAL_STATE:
            load_state(self.model, self.initial_P)
            return Losses(0.0, 0.0)
        load_state(self.model, windows.state_P)
        rows = windows.rows(record.steps * record.batch)
        return self.training.train(rows, record.steps, record.batch, record.course)


def _make_training(configuration: Configuration) -> _Training:
    if configuration.design is None:
        return _ProviderTraining(configuration)
    design = read_design(BUNDLE_FOLDER, configuration.design)
    columns = Columns(*(column.name for column in configuration.columns))
    return DesignTraining(design, columns, configuration.seed_initial, configuration.seed_stream, configuration.device)


def main(make_trainer: Callable[[Configuration], Trainer] = Trainer) -> None:
    """Serve until the enclave closes the control pipe."""
    configuration = Configuration.decode(Path(CONFIGURATION_FILE).read_bytes())
    torch.set_num_threads(configuration.compute_threads)
    spare_compiler()
    windows = Windows(configuration)
    inner_filter = read_inner_filter()
    if configuration.call_classes:
        on_refused_call(windows.count_refused)
    before_filter = _begin_gpu if configuration.device == CUDA else None
    confine(configuration, inner_filter, scratch=True, before_filter=before_filter)
    windows.signal()
    sys.path.insert(0, BUNDLE_FOLDER)
    trainer, failure = _build(configuration, make_trainer)
    while (record := windows.next_record()) is not None:
        if trainer is None:
            windows.write_header(record.sequence, failure)
        else:
            _run_unit(windows, trainer, record)
        windows.signal()
    os._exit(0)


def _begin_gpu() -> None:
    make_thread_folders()
    open_gpu()


def _build(
    configuration: Configuration, make_trainer: Callable[[Configuration], Trainer]
) -> tuple[Trainer | None, Status]:
    try:
        trainer = make_trainer(configuration)
        fits = layout_of(trainer.model) == configuration.layout
    except BaseException:  # provider code may raise anything, SystemExit included
        return None, Status.IMPORT
    return (trainer, Status.NOTHING) if fits else (None, Status.OUTPUT)


def _run_unit(windows: Windows, trainer: Trainer, record: Record) -> None:
    sequence, model = record.sequence, trainer.model
    try:
        losses = trainer.run(windows, record)
    except BaseException:  # provider code may raise anything, SystemExit included
        windows.write_header(sequence, Status.RAISED)
        return
    try:
        if layout_of(model) != trainer.layout:
            raise ValueError("the model changed its layout")
        windows.write_body(flatten_state(model))
    except BaseException:  # tensors of provider code may do anything when they are read
        windows.write_header(sequence, Status.OUTPUT)
        return
    windows.write_header(sequence, Status.DONE, record.steps, losses.mean, losses.last)
