"""The main functions of watched children: those of a job's sandboxes, which say what happens (side: sandbox).

Put into the tree for a check alone (`client/checking/watched`). It adds to the job's own classes: what provider code
raises, prints and is refused, how its model's layout and values stand, and what a unit of work took.
"""

import inspect
import io
import mmap
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from client.checking.telling import LONGEST_TEXT, TOLD_BYTES, Telling, place_in_bundle
from common.sandboxed import export_process, query_process, training_process
from common.sandboxed.local_training import Losses
from common.sandboxed.model_state import float_tensors, layout_of
from common.sandboxed.trapping import on_refused_call
from common.sandboxed.windows import Windows
from common.sandboxed.wire import SCRATCH_FOLDER, Configuration, Operation, Record

TELLING_FILE: Final = "/telling"
"""In the tree: the number of the descriptor of the window."""

_BYTECODE: Final = "/__pycache__/"
"""Python looks for it at each import."""

_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class _Printed(io.TextIOBase):
    """stdout and stderr of provider code: in a job they are /dev/null."""

    def __init__(self, telling: Telling) -> None:
        self._telling, self._line = telling, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text)[-LONGEST_TEXT:].split("\n")
        for line in lines:
            self._telling.tell("printed", text=line)
        return len(text)


class _Watch:
    """Tells of one child."""

    def __init__(self) -> None:
        fd = int(Path(TELLING_FILE).read_text())
        self.telling = Telling(mmap.mmap(fd, TOLD_BYTES))
        os.close(fd)

    def begin(self) -> None:
        """Before provider code runs, once the filter is there."""
        sys.stdout = sys.stderr = _Printed(self.telling)
        sys.addaudithook(self._audit)
        on_refused_call(self._refused)

    @contextmanager
    def unit(self, operation: Operation) -> Iterator[None]:
        """One unit of work: what it raised, what it took."""
        begin = time.perf_counter()
        try:
            yield
        except BaseException:
            self.telling.raised()
            raise
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.telling.tell("unit", operation=int(operation), seconds=seconds, peak_bytes=peak)

    def look_at(self, model: Any, configuration: Configuration) -> None:
        """Whether the state is as declared, and finite."""
        layout = layout_of(model)
        if layout != configuration.layout:
            declared, found = dict(configuration.layout), dict(layout)
            names = [name for name in {**declared, **found} if declared.get(name) != found.get(name)]
            self.telling.tell("layout", names=names or ["(another order)"])
        bad = [name for name, value in float_tensors(model).items() if not bool(torch.isfinite(value).all())]
        if bad:
            self.telling.tell("not-finite", names=bad)

    def _refused(self, number: int) -> None:
        self.telling.tell("refused", call=number, at=place_in_bundle(inspect.currentframe()))

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """A file that the tree does not have, or that can't be written: the call is allowed, the file is not there."""
        if event != "open" or not isinstance(arguments[0], str) or _BYTECODE in arguments[0]:
            return
        at, path = place_in_bundle(inspect.currentframe()), Path(arguments[0]).absolute()
        writes = bool(arguments[2] & _WRITING)
        if at is None or (writes and path.is_relative_to(SCRATCH_FOLDER)):
            return
        if writes or not path.exists():
            self.telling.tell("file", path=str(path), writes=writes, at=at)


class _WatchedTrainer(training_process.Trainer):
    watch: _Watch

    def __init__(self, configuration: Configuration) -> None:
        self.watch.begin()
        with self.watch.unit(Operation.INITIAL_STATE):
            super().__init__(configuration)
        self.watch.look_at(self.model, configuration)

    def run(self, windows: Windows, record: Record) -> Losses:
        with self.watch.unit(Operation(record.operation)):
            losses = super().run(windows, record)
        self.watch.look_at(self.model, windows.configuration)
        if not bool(np.isfinite([losses.mean, losses.last]).all()):
            self.watch.telling.tell("not-finite", names=["the loss"])
        return losses


class _WatchedAnswering(query_process.Answering):
    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def build(self, own: Configuration) -> Any:
        self._watch.begin()
        with self._watch.unit(Operation.INITIAL_STATE):
            return super().build(own)

    def forward(self, model: Any, windows: Windows, count: int) -> NDArray[Any]:
        with self._watch.unit(Operation.QUERY):
            answer_NA = super().forward(model, windows, count)
        declared = (count, *windows.configuration.answer_shape)
        if answer_NA.shape != declared:
            self._watch.telling.tell("answer", expected=declared, seen=answer_NA.shape)
        elif not bool(np.isfinite(answer_NA).all()):
            self._watch.telling.tell("not-finite", names=["the answer"])
        return answer_NA


class _WatchedExporting(export_process.Exporting):
    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def document(self, own: Configuration) -> bytes:
        self._watch.begin()
        with self._watch.unit(Operation.GRAPH):
            return super().document(own)


def train() -> None:
    """A watched training sandbox."""
    _WatchedTrainer.watch = _Watch()
    training_process.main(_WatchedTrainer)


def answer() -> None:
    """A watched query sandbox."""
    query_process.main(_WatchedAnswering(_Watch()))


def export() -> None:
    """A watched export sandbox."""
    export_process.main(_WatchedExporting(_Watch()))
