"""Each enclave starts in its own tree, where nothing else is, and trains and answers there: no file is missing.

This needs bubblewrap and no Gramine. The trees of trainer and query enclave hold torch, so it takes half a minute.
"""

import contextlib
import json
import os
import threading
from pathlib import Path

import pytest
import torch

from client.measuring import CODE_ROOT
from common.door import Door
from common.enclave.development import development_trust_settings
from common.enclave.roles import ROLES
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import Refusal
from common.identifiers import MrEnclave
from deploy.enclaves.building import EnclaveFolder, build_tree
from deploy.enclaves.closure import INTERPRETER
from tests.conftest import Say
from tests.fakes.attestation_device import AttestationDevice
from tests.fakes.c_library import copy_c_library
from tests.fakes.enclave_tree import start_in_tree
from tests.fakes.wasm_components import component

OWN = MrEnclave("a1" * 32)
MOST = {"broker": (600, 150), "paramserver": (700, 200), "trainer": (2400, 1000), "query": (2400, 1000)}
"""Files and megabytes that an enclave trusts, at most; with torch's build for processors, which enclaves run on."""

EXERCISE = """
import json, sys
sys.path[:0] = ["/code", "/packages"]
import numpy as np
from common.sandboxed.design_training import Columns, DesignTraining
from common.sandboxed.eager_optimisers import spare_compiler
from common.sandboxed.engines import EagerEngine
from common.sandboxed.model_state import flatten_state
spare_compiler()
rows = {"x": np.ones((8, 2), np.float32), "y": np.zeros(8, np.int64)}
graph = json.loads(sys.argv[1])
trained = 0
for kind, more in (("sgd", {"momentum": 0.9, "nesterov": True}), ("adam", {}), ("adamw", {})):
    optimiser = {"kind": kind, "learning_rate": 0.1, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    design = {"graph": graph, "optimiser": optimiser | more, "loss": {"kind": "cross_entropy", "label_smoothing": 0.1},
              "batch_rows": None, "augmentation": [], "gradient_clip": 1.0,
              "schedule": {"kind": "cosine", "warmup_steps": 1, "steps": 4, "final_factor": 0.1}}
    training = DesignTraining(design, Columns("x", "y"), 1, 2)
    training.train(rows, 2, 4)
    trained += 1
EagerEngine(graph, flatten_state(training.model)).answer(rows["x"])
print(trained, flush=True)
"""

DESIGNING = """
import sys
sys.path[:0] = ["/code", "/packages"]
from common.enclave.gramine import is_gramine
from common.sandbox.wasm.engine import compile_within, fingerprint, make_engine
from common.sandbox.wasm.instance import Instance
from common.sandbox.wasm.limits import DEFAULT_LIMITS
assert is_gramine() and b'"signals_based_traps":false' in fingerprint()
engine = make_engine()
Instance.start(engine, compile_within(engine, sys.stdin.buffer.read(), 60.0), DEFAULT_LIMITS, 60.0).close()
print("designed", flush=True)
"""

GATHERING = """
import sys
sys.path[:0] = ["/code", "/packages"]
import numpy as np
from common.crypto.keys import SecretKey
from services.trainer_enclave.dataset import RoundRows
tables = [{"x": np.arange(first, first + 30)} for first in (0, 30)]
print(sorted(RoundRows(tables, SecretKey(bytes(32)), 0, 1, 60).of_round(0)["x"]) == list(range(60)), flush=True)
"""
"""numpy imports more of itself for it, so late that no import names it (deploy/enclaves/closure.IMPORTED_LATER)."""

GRAPH = {
    "type": "model-graph", "version": 1, "input": {"shape": [2], "dtype": "float32"},
    "parameters": [{"name": "w", "shape": [3, 2], "initial": {"kind": "xavier_uniform", "gain": 1.0}, "trained": True}],
    "nodes": [{"op": "linear", "name": "out", "inputs": ["input"], "weight": "w", "bias": None}], "output": "out",
}  # fmt: skip


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("device")
    platform = SimulatedPlatform.open_or_create(place / "platform")
    return AttestationDevice(place / "attestation", platform, OWN).folder


@pytest.fixture(scope="module", params=sorted(ROLES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, say: Say) -> EnclaveFolder:
    place, spec = tmp_path_factory.mktemp("trees"), ROLES[request.param]
    made = EnclaveFolder(place, spec.role)
    trust = development_trust_settings(place / "trust")
    files = build_tree(made, spec, trust, CODE_ROOT, copy_c_library(place / "runtime"))
    megabytes = sum(file.size_bytes for file in files) / 1e6
    say(f"{spec.role}: {len(files)} trusted files, {megabytes:.0f} MB")
    most_files, most_megabytes = MOST[spec.role]
    assert len(files) < most_files
    assert megabytes < most_megabytes or torch.version.cuda is not None
    return made


def test_it_starts_where_nothing_else_is(folder: EnclaveFolder, device: Path) -> None:
    """The broker is there too, and says that it was not started."""
    process = start_in_tree(folder, device)
    assert process.stdin is not None
    assert process.stdout is not None
    door = Door(process.stdout, process.stdin, {})  # type: ignore[arg-type]
    reader = threading.Thread(target=door.serve)
    reader.start()
    try:
        with pytest.raises(Refusal) if folder.role == "broker" else contextlib.nullcontext() as refused:
            door.call("status", b"", seconds=60.0)
        assert refused is None or refused.value.code == "unavailable.broker"
    finally:
        process.stdin.close()
        status = process.wait(60)
        reader.join()
        process.stdout.close()
    assert status == 0


PROGRAMS = {"training": (EXERCISE, "3"), "designing": (DESIGNING, "designed"), "gathering": (GATHERING, "True")}
"""Code, and what it says at its end."""


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_toolchain_finds_all_that_it_opens(folder: EnclaveFolder, device: Path, program: str) -> None:
    if folder.role not in {"trainer", "query"} or (folder.role == "query" and program != "training"):
        pytest.skip("no toolchain in this enclave")
    code, last_words = PROGRAMS[program]
    command = (f"/{INTERPRETER}", "-I", "-S", "-B", "-c", code, json.dumps(GRAPH))
    process = start_in_tree(folder, device, *command)
    out, errors = process.communicate(component() if program == "designing" else b"", timeout=110)
    assert (process.returncode, out.decode()) == (0, f"{last_words}\n"), errors.decode()


def test_a_file_outside_is_not_there(folder: EnclaveFolder, device: Path) -> None:
    code = f"import os; print(os.path.exists({os.__file__!r}), os.path.exists('/etc/passwd'), sorted(os.listdir('/')))"
    process = start_in_tree(folder, device, f"/{INTERPRETER}", "-I", "-S", "-B", "-c", code)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert out == b"False False ['code', 'dev', 'lib64', 'libraries', 'packages', 'proc', 'python', 'tmp']\n"
