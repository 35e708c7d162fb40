"""Promise: of what provider code raises and prints in a job, a code leaves its sandbox, and no text.

`cloister provider check` shows such text, on the provider's machine: nothing of that is within a job's reach.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

import common.sandboxed
from client.checking.watched import MODULES
from client.measuring import CODE_ROOT
from common.enclave.import_closure import import_closure
from common.enclave.roles import ROLES
from common.sandbox.native import DEFAULT_LIMITS, query_work, training_work
from common.sandbox.tree import provider_tree
from common.sandbox.workplace import Workplace
from common.sandboxed.wire import HEADER, Operation, Status
from tests.security.sandbox.sandbox_parts import SEEDS, hostile_bundle

MARKER: Final = b"gallbladder of row 17"
SECONDS: Final = 30.0

TELLTALE: Final = f"""
import sys
import torch
from torch import nn

TEXT = {MARKER.decode()!r}

class Hostile(nn.Module):
    def __init__(self):
        super().__init__()
        self.report = nn.Parameter(torch.zeros(64))
        print(TEXT, flush=True)
        print(TEXT, file=sys.stderr, flush=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch):
        raise RuntimeError(TEXT) from KeyError(TEXT)

    def forward(self, x):
        raise RuntimeError(TEXT) from KeyError(TEXT)
"""


class Looked(Workplace):
    """A job's workplace, and all the memory that its child could have written to."""

    def everything(self) -> bytes:
        return bytes(self._output.copy(self._output.size))


@pytest.fixture(params=["training", "query"])
def place(request: pytest.FixtureRequest) -> Iterator[Looked]:
    contents = hostile_bundle(hostile=TELLTALE)
    work = training_work(contents.manifest, 1) if request.param == "training" else query_work(contents.manifest)
    started = Looked(contents, work, SEEDS, DEFAULT_LIMITS)
    started.require_ready()
    yield started
    started.close()


def test_an_exception_and_what_was_printed_come_to_a_status_alone(
    place: Looked, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = hostile_bundle().manifest
    place.load_state(np.zeros(manifest.state_count, np.float32))
    place.load_rows({"x": np.zeros((1, 2), np.int64), "y": np.zeros(1, np.int64)}, 1)
    result = place.run(Operation.ROUND, 1, 1, SECONDS, SECONDS)
    assert result.status is Status.RAISED
    after = place.everything()
    assert after[: HEADER.size] == HEADER.pack(1, Status.RAISED, 0, 0.0, 0.0)
    assert not any(after[HEADER.size :])
    assert capfd.readouterr() == ("", "")


def test_no_enclave_holds_the_code_that_tells_text() -> None:
    for role, known in ROLES.items():
        files = import_closure(known.entry, CODE_ROOT) | import_closure("common.enclave.boot", CODE_ROOT)
        assert not any(name.startswith("client/") for name in files), role


def test_no_sandbox_of_a_job_holds_it_either() -> None:
    tree = provider_tree(hostile_bundle().files, b"{}", b"", randomness=b"")
    assert [place for place in tree.files if place.endswith(MODULES)] == []
    assert not any(place.startswith("/code/client") for place in tree.files)


def test_the_code_beside_provider_code_looks_at_no_exception() -> None:
    """It can't tell what it has not looked at: nothing binds an exception, or could put one into words."""
    for path in sorted(Path(common.sandboxed.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text())
        handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
        assert [one.name for one in handlers if one.name is not None] == [], path.name
        imported = {
            alias.name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not imported & {"traceback", "logging", "inspect", "exc_info", "warnings"}, path.name
        assert not named & {"print", "repr"}, path.name
