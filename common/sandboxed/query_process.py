"""The main function of a query sandbox: a zygote that has torch and nothing else, and a child for each query.

Side: sandbox.  Provider code never runs in the zygote: it could set up memory that later children share. In a query's
child, in this order: no descriptor that another query's child has or will have stays open; limits; Landlock; inner
filter (no process, no thread, no signal, so nothing outlives the child); only then the provider's module is imported,
the model built, the weights loaded from their read-only window, one answer computed and written. The child dies; the
zygote sees it dead before it says so. The enclave wipes input and output between queries, and no file system here is
writable.

A graph or design needs none of this: trusted code computes it, and a checked graph keeps nothing from one query to the
next. So it is built once and answers here, behind limits, Landlock and inner filter, without a child, by the engine
that is fastest (engine_choice.py).
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from common.sandboxed.engine_choice import choose_engine
from common.sandboxed.engine_report import Precision
from common.sandboxed.engines import EagerEngine, Engine
from common.sandboxed.graph_model import GraphModel, read_graph
from common.sandboxed.local_training import build_model, seed_everything
from common.sandboxed.lockdown import OPEN_FILES, confine, read_inner_filter
from common.sandboxed.model_state import layout_of, load_state
from common.sandboxed.windows import Windows
from common.sandboxed.wire import BUNDLE_FOLDER, CONFIGURATION_FILE, Configuration, Status

_SAID_BY_CHILD: Final = (Status.DONE, Status.IMPORT, Status.RAISED, Status.OUTPUT)
"""What a child's exit status may say; anything else means that it was killed or ended itself."""


class Answering:
    """What a query's child does: provider code, or a design. Raises what provider code raises."""

    def build(self, own: Configuration) -> nn.Module:
        """Construct the provider's model, from his module or from the graph of a design."""
        if own.design is None:
            return build_model(own.entry, own.seed_initial)
        return GraphModel(read_graph(BUNDLE_FOLDER, own.design))

    def forward(self, model: nn.Module, windows: Windows, count: int) -> NDArray[Any]:
        """The answers to the first `count` rows of the window, of the declared dtype."""
        own = windows.configuration
        (values,) = windows.rows(count).values()
        model.eval()
        with torch.inference_mode():
            answer_NA = model(torch.from_numpy(np.array(values)))
        return np.ascontiguousarray(answer_NA.numpy().astype(own.answer_dtype))


def main(answering: Answering | None = None) -> None:
    """Serve until the enclave closes the control pipe."""
    configuration = Configuration.decode(Path(CONFIGURATION_FILE).read_bytes())
    torch.set_num_threads(configuration.compute_threads)
    torch.set_flush_denormal(True)  # such numbers take a hundred times as long; threads of engines inherit it
    windows = Windows(configuration)
    inner_filter = read_inner_filter()
    if configuration.design is not None and answering is None:
        _serve_graph(windows, inner_filter)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    windows.signal()
    while (record := windows.next_record()) is not None:
        pid = os.fork()
        if pid == 0:
            _serve_in_child(windows, inner_filter, answering or Answering())
        status = _await_child(pid, record.seconds)
        windows.write_header(record.sequence, status)
        windows.signal()
    os._exit(0)


def _serve_graph(windows: Windows, inner_filter: bytes) -> None:
    """Answer every query here; never returns. The state is there with the first one, or from the start."""
    own = windows.configuration
    confine(own, inner_filter, scratch=False)
    graph = read_graph(BUNDLE_FOLDER, own.design or "")
    engine = _chosen_engine(windows, graph) if own.engines else None
    windows.signal()
    while (record := windows.next_record()) is not None:
        try:
            engine = engine or EagerEngine(graph, windows.state_P)
            (values,) = windows.rows(record.batch).values()
            status = _written(windows, engine.answer(values).astype(own.answer_dtype, copy=False), record.batch)
        except Exception:  # what torch or OpenVINO raises, out of memory above all
            status = Status.RAISED
        windows.write_header(record.sequence, status)
        windows.signal()
    os._exit(0)


def _chosen_engine(windows: Windows, graph: Mapping[str, Any]) -> Engine | None:
    """The engine, which the header of sequence 0 names; None where even eager torch failed, which each query tries."""
    try:
        own = windows.configuration
        precision, threads = Precision(own.precision), own.compute_threads
        engine, report = choose_engine(graph, windows.state_P, precision, own.ranges, threads=threads)
    except Exception:
        return None
    windows.write_header(0, Status.DONE, report.code, report.rows_per_second_1, report.rows_per_second_16)
    return engine


def _await_child(pid: int, seconds: float) -> Status:
    """Wait until the child is dead, and kill it when its time is over."""
    in_time = signal.sigtimedwait({signal.SIGCHLD}, seconds) is not None
    if not in_time:
        os.kill(pid, signal.SIGKILL)
    _, wait_status = os.waitpid(pid, 0)
    if not in_time:
        signal.sigtimedwait({signal.SIGCHLD}, 0)
        return Status.TIMEOUT
    said = os.waitstatus_to_exitcode(wait_status)
    return Status(said) if said in _SAID_BY_CHILD else Status.KILLED


def _serve_in_child(windows: Windows, inner_filter: bytes, answering: Answering) -> None:
    """Compute one answer; never returns."""
    status = Status.KILLED
    try:
        _seal_off(windows, inner_filter)
        status = _answer(windows, answering)
    finally:
        os._exit(status)


def _seal_off(windows: Windows, inner_filter: bytes) -> None:
    os.closerange(0, OPEN_FILES)  # an open file description shared with the zygote would keep flags for the next query
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)
    confine(windows.configuration, inner_filter, scratch=False)
    sys.path.insert(0, BUNDLE_FOLDER)


def _answer(windows: Windows, answering: Answering) -> Status:
    own = windows.configuration
    try:
        model = answering.build(own)
    except BaseException:  # provider code may raise anything, SystemExit included
        return Status.IMPORT
    try:
        if layout_of(model) != own.layout:
            return Status.OUTPUT
        load_state(model, windows.state_P)
        seed_everything(own.seed_stream)
        answer = answering.forward(model, windows, own.rows)
    except BaseException:  # provider code may raise anything, SystemExit included
        return Status.RAISED
    return _written(windows, answer, own.rows)


def _written(windows: Windows, answer: NDArray[Any], count: int) -> Status:
    if answer.shape != (count, *windows.configuration.answer_shape):
        return Status.OUTPUT
    windows.write_body(answer)
    return Status.DONE
