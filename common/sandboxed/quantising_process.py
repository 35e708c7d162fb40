"""The main function of a quantising sandbox: a graph in int8, calibrated and judged once (side: sandbox).

Trusted code alone runs here, over a document that nobody has checked: it may be any JSON that another sandbox wrote.
So it meets the walls that provider code meets, before it is read; rows and state come through read-only windows, and
findings alone leave. The order: import torch; limits, Landlock, inner filter; say ready; then each unit of work.

The state is the bundle's: a graph that native code exports to takes its parameters out of it by name.
"""

import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.sandboxed.engines import Graph
from common.sandboxed.graph_model import read_design
from common.sandboxed.graph_names import names_of_state
from common.sandboxed.lockdown import confine, read_inner_filter
from common.sandboxed.quantised_layout import Finding, Findings
from common.sandboxed.windows import Windows
from common.sandboxed.wire import BUNDLE_FOLDER, CONFIGURATION_FILE, Configuration, Record, Status

JUDGING_SHARE: Final = 0.7
"""Of the time: the rest is for the end of a batch, and for saying so."""


def main() -> None:
    """Serve until the enclave closes the control pipe."""
    configuration = Configuration.decode(Path(CONFIGURATION_FILE).read_bytes())
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as where it is served
    windows = Windows(configuration)
    confine(configuration, read_inner_filter(), scratch=False)
    windows.signal()
    while (record := windows.next_record()) is not None:
        try:
            findings = _found(windows, record)
        except Exception:  # what torch and OpenVINO raise, and whatever a document makes them raise
            findings = Findings(Finding.FAILED)
        windows.write_body(np.frombuffer(findings.encode(), np.uint8))
        windows.write_header(record.sequence, Status.DONE)
        windows.signal()
    os._exit(0)


def _found(windows: Windows, record: Record) -> Findings:
    """Of a unit of `batch` rows, of which the first `steps` calibrate."""
    try:
        from common.sandboxed.quantising import quantise
    except (ImportError, OSError):
        return Findings(Finding.ABSENT)
    graph, state_P = model_of(windows.configuration, windows.state_P)
    rows_NX, labels_N = windows.rows(record.batch).values()
    calibrating, judging = slice(record.steps), slice(record.steps, None)
    held_out = rows_NX[judging], labels_N[judging]
    return quantise(graph, state_P, rows_NX[calibrating], held_out, JUDGING_SHARE * record.seconds)


def model_of(configuration: Configuration, state_P: NDArray[np.float32]) -> tuple[Graph, NDArray[np.float32]]:
    """The graph of a document, and its state out of the bundle's: a design's is that, in its order.

    Raises what a document that is no such thing makes it raise.
    """
    document: dict[str, Any] = read_design(BUNDLE_FOLDER, configuration.design or "")
    if document["type"] == "design":
        return document["graph"], state_P
    names, places, begin = names_of_state(name for name, _ in configuration.layout), {}, 0
    for name, shape in configuration.layout:
        count = int(np.prod(shape, dtype=np.int64))
        places[names[name]] = state_P[begin : begin + count]
        begin += count
    return document, np.concatenate([places[one["name"]] for one in document["parameters"]])
