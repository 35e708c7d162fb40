"""Serving frameworks beside ours, each in an environment of its own, as its own documentation has it (side: owner).

Official packages of exact versions, installed by pip when they are first needed (bench/peers/NAME.txt); torch and NumPy
are those of this checkout, linked into each environment, so that one build computes in all. One worker a core, one
thread each, batches of 32 where the framework batches, everything warmed up before it listens.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.serve_callers import Rows, encoded, media_type
from bench.serve_processes import free_port, stop_tree

SCRIPTS: Final = Path(__file__).parent / "peers"
CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cloister" / "serving-peers"
ENGINE_PACKAGES: Final = (
    "torch", "torchgen", "functorch", "numpy", "numpy.libs", "sympy", "mpmath", "networkx", "jinja2", "markupsafe",
    "filelock", "fsspec", "typing_extensions.py", "openvino",
)  # fmt: skip
"""torch and what it imports, from this checkout's environment; what a peer pins itself comes first."""

START_SECONDS: Final = 300.0
_LOOK_SECONDS: Final = 0.3
_TAIL_BYTES: Final = 2000
WORKERS: Final = 2
"""One a core."""

BATCHING: Final = "up to 32 rows, up to 5 ms (bentoml: adaptive, below 1 s); fastapi: none"


class PeerMissingError(Exception):
    """Why a peer can't be measured here, in words."""


@dataclass(frozen=True)
class Peer:
    """`command` makes the server's arguments from its environment's `bin`, a port and a private folder."""

    name: str
    command: Callable[[Path, int, Path], Sequence[str]]
    path: str = "/predict"
    encoding: str = "raw"
    needs: str | None = None

    @property
    def pins(self) -> Path:
        """Its packages."""
        return SCRIPTS / f"{self.name}.txt"

    def version(self) -> str:
        """Of the framework itself: the first pin."""
        return next(line for line in self.pins.read_text().splitlines() if "==" in line)

    def environment(self) -> Path:
        """The folder of its virtual environment, made when it is not there. Raises `PeerMissingError`."""
        if self.needs is not None and shutil.which(self.needs) is None:
            raise PeerMissingError(f"{self.needs} is not installed")
        digest = hashlib.sha256(self.pins.read_bytes()).hexdigest()[:16]
        place = CACHE / f"{self.name}-{sys.version_info.major}.{sys.version_info.minor}-{digest}"
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            _make_environment(place, self.pins)
        _link_engine(place)
        return place


def _make_environment(place: Path, pins: Path) -> None:
    python = place / "bin" / "python"
    try:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-qq", "--no-input"]
        command += ["--no-compile", "-r", str(pins)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except subprocess.CalledProcessError as cause:
        raise PeerMissingError(f"pip could not install {pins.name} (status {cause.returncode})") from cause
    own = next((place / "lib").glob("python3*")) / "site-packages"
    (own / "engine.pth").write_text(f"{place / 'engine'}\n")
    (place / "complete").touch()


def _link_engine(place: Path) -> None:
    """What is in this checkout's environment by now, and nothing of another's that was linked before."""
    links, site = place / "engine", Path(sysconfig.get_paths()["purelib"])
    shutil.rmtree(links, ignore_errors=True)
    links.mkdir()
    for name in ENGINE_PACKAGES:
        if (site / name).exists():
            (links / name).symlink_to(site / name)


@contextlib.contextmanager
def running(peer: Peer, bundle: Path, rows: Path, users: int, engine: str) -> Iterator[dict[str, Any]]:
    """The load generator's target, while the server runs. Raises `PeerMissingError`."""
    environment, port = peer.environment(), free_port()
    with tempfile.TemporaryDirectory(prefix=f"cloister-{peer.name}-") as folder:
        private = Path(folder)
        told = {"SERVE_BUNDLE": str(bundle), "SERVE_WORKERS": str(WORKERS), "PYTHONPATH": str(SCRIPTS)}
        told |= {"SERVE_ENGINE": engine, "OMP_NUM_THREADS": "1", "HOME": folder, "TMPDIR": folder}
        told |= {"PATH": f"{environment / 'bin'}:/usr/bin:/bin"}
        with (private / "log").open("wb") as log:
            process = subprocess.Popen(
                peer.command(environment / "bin", port, private),
                env=told | _QUIET,
                cwd=private,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            _await_answer(peer, process, port, np.load(rows, allow_pickle=False)[0], private / "log")
            yield {
                "kind": "plain", "users": users, "rows": str(rows), "port": port, "path": peer.path,
                "encoding": peer.encoding,
            }  # fmt: skip
        finally:
            stop_tree(process)


_QUIET: Final = {"BENTOML_DO_NOT_TRACK": "True", "RAY_USAGE_STATS_ENABLED": "0", "LITSERVE_DISABLE_TRACKING": "1"}
"""No framework reports its use from here."""


def _await_answer(peer: Peer, process: "subprocess.Popen[bytes]", port: int, row: Rows, log: Path) -> None:
    """A server may listen before its workers have their model, so it is asked until it answers."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, HTTPException), contextlib.closing(HTTPConnection("127.0.0.1", port)) as http:
            http.request("POST", peer.path, encoded(row, peer.encoding), {"content-type": media_type(peer.encoding)})
            if http.getresponse().status == HTTPStatus.OK:
                return
        time.sleep(_LOOK_SECONDS)
    tail = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    raise PeerMissingError(f"{peer.name} did not start: {tail}")


def _fastapi(programs: Path, port: int, _: Path) -> list[str]:
    uvicorn = [str(programs / "uvicorn"), "serve_fastapi:app", "--port", str(port), "--workers", str(WORKERS)]
    return [*uvicorn, "--no-access-log", "--log-level", "warning", "--app-dir", str(SCRIPTS)]


def _script(name: str) -> Callable[[Path, int, Path], list[str]]:
    return lambda programs, port, _: [str(programs / "python"), str(SCRIPTS / name), str(port)]


def _bentoml(programs: Path, port: int, _: Path) -> list[str]:
    serve = [str(programs / "bentoml"), "serve", "serve_bentoml:Served", "--host", "127.0.0.1", "--port", str(port)]
    return [*serve, "--working-dir", str(SCRIPTS)]


def _torchserve(programs: Path, port: int, private: Path) -> list[str]:
    """An archive of the handler alone, batching by its model configuration, no tokens; only on this machine."""
    (private / "model.yaml").write_text(
        f"minWorkers: {WORKERS}\nmaxWorkers: {WORKERS}\nbatchSize: 32\nmaxBatchDelay: 5\nresponseTimeout: 120\n"
    )
    archiver = [str(programs / "torch-model-archiver"), "--model-name", "served", "--version", "1.0", "--force"]
    archiver += ["--handler", str(SCRIPTS / "torchserve_handler.py"), "--extra-files", str(SCRIPTS / "engine.py")]
    archiver += ["--config-file", str(private / "model.yaml"), "--export-path", str(private)]
    subprocess.run(archiver, check=True, stdout=subprocess.DEVNULL)
    others = {"management": free_port(), "metrics": free_port(), "grpc_inference": free_port()}
    (private / "config.properties").write_text(
        f"inference_address=http://127.0.0.1:{port}\nmanagement_address=http://127.0.0.1:{others['management']}\n"
        f"metrics_address=http://127.0.0.1:{others['metrics']}\ngrpc_inference_port={others['grpc_inference']}\n"
        f"grpc_management_port={free_port()}\ndisable_token_authorization=true\njob_queue_size=1000\n"
    )
    serve = [str(programs / "torchserve"), "--foreground", "--ncs", "--model-store", str(private), "--models"]
    return [*serve, "served=served.mar", "--ts-config", str(private / "config.properties"), "--disable-token-auth"]


PEERS: Final = {
    one.name: one
    for one in (
        Peer("fastapi", _fastapi),
        Peer("litserve", _script("serve_litserve.py"), encoding="one"),
        Peer("bentoml", _bentoml, encoding="list"),
        Peer("ray_serve", _script("serve_ray.py")),
        Peer("torchserve", _torchserve, path="/predictions/served", needs="java"),
    )
}
