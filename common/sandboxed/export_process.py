"""The main function of an export sandbox: the provider's module becomes a graph (side: sandbox).

It sees the bundle and nothing of a job: no row, no state, no seed. One unit of work: build the model, export it, see
that both answer alike (for an honest provider; nobody else believes it), and write the document. Why there is none is
not looked at here: a provider's own machine says it (client/checking).
"""

import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from common.sandboxed.exporting import require_equal, write_module
from common.sandboxed.graph_writing import INTEGERS, ExportError, GraphWriter
from common.sandboxed.local_training import build_model
from common.sandboxed.lockdown import confine, read_inner_filter
from common.sandboxed.model_state import layout_of
from common.sandboxed.windows import Windows
from common.sandboxed.wire import BUNDLE_FOLDER, CONFIGURATION_FILE, DOCUMENT_BYTES, Configuration, Record, Status

EXAMPLE_ROWS: Final = 2
"""Least that torch.export takes for an axis that is free."""

_LENGTH: Final = struct.Struct("<I")


def example_rows(shape: tuple[int, ...], dtype: str, rows: int) -> Tensor:
    """Rows that any model of this input takes: zeros and ones, which are in range of every table of two entries."""
    example = torch.randint(0, 2, (max(rows, EXAMPLE_ROWS), *shape), generator=torch.Generator().manual_seed(0))
    kind: torch.dtype = getattr(torch, dtype)
    return example.to(kind) if dtype in INTEGERS else example.to(kind) - 0.5


def export_module(module: nn.Module, example_BX: Tensor) -> dict[str, Any]:
    """The document. Raises `ExportError`, or whatever the module raises."""
    dtype = str(example_BX.dtype).removeprefix("torch.")
    writer = GraphWriter(tuple(example_BX.shape[1:]), dtype, layout_of(module))
    document = writer.finish(write_module(module, example_BX, writer))
    require_equal(module, document, writer.tensors, example_BX)
    return document


class Exporting:
    """What the child does. Raises what provider code raises."""

    def document(self, own: Configuration) -> bytes:
        """The graph of the bundle's module."""
        (column,) = own.columns
        module = build_model(own.entry, own.seed_initial)
        document = export_module(module, example_rows(column.shape, column.dtype, own.rows))
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        if _LENGTH.size + len(text) > DOCUMENT_BYTES:
            raise ExportError("document", f"at most {DOCUMENT_BYTES - _LENGTH.size} bytes", len(text))
        return text


def main(exporting: Exporting | None = None) -> None:
    """Serve until the enclave closes the control pipe."""
    configuration = Configuration.decode(Path(CONFIGURATION_FILE).read_bytes())
    torch.set_num_threads(1)
    windows = Windows(configuration)
    confine(configuration, read_inner_filter(), scratch=True)
    windows.signal()
    sys.path.insert(0, BUNDLE_FOLDER)
    while (record := windows.next_record()) is not None:
        _run_unit(windows, record, exporting or Exporting())
        windows.signal()
    os._exit(0)


def _run_unit(windows: Windows, record: Record, exporting: Exporting) -> None:
    try:
        text = exporting.document(windows.configuration)
        windows.write_body(np.frombuffer(_LENGTH.pack(len(text)) + text, np.uint8))
    except BaseException:  # provider code may raise anything, SystemExit included
        windows.write_header(record.sequence, Status.RAISED)
        return
    windows.write_header(record.sequence, Status.DONE)
