"""The plain twin of our pipeline: the same front, queue, worker, batching and sandbox, nothing sealed (side: owner).

It lives here alone: no shipped module can skip sealing (tests/security/test_nothing_skips_sealing.py). Its parts are
those of the product with three things in their places: a session whose cipher copies, a budget that never ends, and an
enclave process that nothing measured. Sizes are those of the sealed path, byte by byte.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.serve_models import ServedModel
from bench.serve_processes import free_port, stop_tree
from bench.serve_scene import ServeScene
from bench.serve_twin_parts import TwinSettings
from client.measuring import CODE_ROOT
from common.bundle_packing import pack_bundle
from common.identifiers import ModelId
from common.sandbox.exporting import GraphExport

READY_SECONDS: Final = 120.0
EXPORT_SECONDS: Final = 120.0


@dataclass(frozen=True)
class Twin:
    """A running twin of one model."""

    scene: ServeScene
    model: ServedModel
    settings: TwinSettings
    pids: tuple[int, ...]

    def target(self, users: int) -> dict[str, Any]:
        """For the load generator (bench/serve_callers)."""
        return {
            "kind": "twin",
            "users": users,
            "rows": str(self.scene.rows(self.model)),
            "party": str(self.scene.user.directory),
            "port": self.settings.listen_port,
            "model_id": self.settings.model_id,
            "answer": self.model.answer_shape,
            "max_rows": 1,
        }


@contextlib.contextmanager
def plain_twin(scene: ServeScene, model: ServedModel) -> Iterator[Twin]:
    """The twin of a model of `scene`, on that stack's Redis and registry."""
    place = scene.directory / f"twin-{model.name}-{time.monotonic_ns()}"
    place.mkdir()
    file, settings = _settings(scene, model, place)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        processes += [_start(part, file, scene.tree) for part in ("worker", "front")]
        _await_listening(settings.listen_port, processes)
        yield Twin(scene, model, settings, tuple(one.pid for one in processes))
    finally:
        for one in processes:
            stop_tree(one)


def _settings(scene: ServeScene, model: ServedModel, place: Path) -> tuple[Path, TwinSettings]:
    """The graph is exported here as a trainer does it; the state is what the model begins with."""
    source = scene.directory / model.name / "source"
    contents = pack_bundle(source)
    document = GraphExport.start(contents).run(EXPORT_SECONDS)
    if document is None:
        raise RuntimeError(f"{model.name} exports to no graph")
    (place / "graph.bin").write_bytes(document)
    state = place / "state.npy"
    command = [sys.executable, "-P", "-m", "bench.initial_state", str(source), contents.manifest.entry, str(state)]
    subprocess.run(command, check=True, cwd=CODE_ROOT, env={**os.environ, "PYTHONPATH": str(CODE_ROOT)})
    settings = TwinSettings(
        listen_port=free_port(),
        database_url=f"sqlite:///{scene.stack.state.folder('registry') / 'registry.sqlite'}",
        redis_url=scene.stack.redis_url,
        model_id=ModelId.new(),
        answer_timing=model.timing,
        bundle=source,
        graph=place / "graph.bin",
        state=state,
    )
    file = place / "settings.json"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(json.dumps(settings.model_dump(mode="json")))
    return file, settings


def _start(part: str, settings: Path, tree: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-m", "bench.serve_twin_parts", part, str(settings)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)})


def _await_listening(port: int, processes: "list[subprocess.Popen[bytes]]") -> None:
    """The front listens last; questions wait for the worker. Raises `RuntimeError`."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and all(one.poll() is None for one in processes):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError("the plain twin did not start")
