"""The host process's end of one enclave's door: it carries sealed bytes to brokers, stores and HTTP (side: host).

An enclave holds no queue, web or container client; its relay does. `EnclaveRelay` starts the launcher, serves the door
on a thread of its own, answers what every enclave may ask (`broker.ask`, `object.*`), prints the enclave's events, and
ends the enclave when it is stopped. It sees what the host is meant to see: ciphertext, sizes and public values.
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from common.door import Door, Handler
from common.enclave.launcher import launch_enclave
from common.errors import FormatError
from common.event_log import log_event
from common.identifiers import Digest

_log = logging.getLogger("relay")

_ROOT_BYTES = 32
_LEAF_BYTES = 4


class LeafStore(Protocol):
    """The object store, as far as an enclave needs it: leaf 0 is the header, leaf i + 1 is chunk i."""

    def read_leaf(self, root: Digest, leaf: int) -> bytes:
        """One leaf of a committed object."""

    def header_proof(self, root: Digest) -> bytes:
        """The hashes that prove leaf 0 to be under the root of a committed object."""

    def write_leaf(self, root: Digest, leaf: int, data: bytes) -> None:
        """Store one leaf of an object that is not committed yet."""

    def commit(self, root: Digest, leaf_count: int) -> None:
        """Check the Merkle root over all leaves and make the object readable."""


class BrokerRoute(Protocol):
    """The way to the attestation service."""

    def ask(self, raw: bytes) -> bytes:
        """Carry one BrokerRequest; return the signed reply."""


def common_handlers(store: LeafStore | None, broker: BrokerRoute | None) -> dict[str, Handler]:
    """What every relay offers its enclave. Each answer is checked inside the enclave, so none is trusted here."""
    handlers: dict[str, Handler] = {}
    if broker is not None:
        handlers["broker.ask"] = broker.ask
    if store is not None:
        handlers["object.read"] = lambda body: store.read_leaf(*_split_leaf(body)[:2])
        handlers["object.proof"] = lambda body: store.header_proof(_split_leaf(body)[0])

        def write(body: bytes) -> bytes:
            store.write_leaf(*_split_leaf(body))
            return b""

        def commit(body: bytes) -> bytes:
            store.commit(*_split_leaf(body)[:2])
            return b""

        handlers |= {"object.write": write, "object.commit": commit}
    return handlers


def _split_leaf(body: bytes) -> tuple[Digest, int, bytes]:
    if len(body) < _ROOT_BYTES + _LEAF_BYTES:
        raise FormatError("format.door_frame", expected="root (32 bytes), number (4 bytes)")
    number_end = _ROOT_BYTES + _LEAF_BYTES
    return Digest.of(body[:_ROOT_BYTES]), int.from_bytes(body[_ROOT_BYTES:number_end], "big"), body[number_end:]


class EnclaveRelay:
    """One enclave behind its door, from launch to end.

    `role` is a role of common/enclave/roles; `launcher_settings` the path of the launcher's settings file; `handlers`
    come on top of the common ones, and those named in `inline` are short (`Door`); `on_exit` runs once, on the door's
    thread, when the enclave is gone.
    Create it from the main thread or from one that lives as long: the launcher dies with the thread that started it.
    """

    def __init__(
        self,
        role: str,
        launcher_settings: Path,
        handlers: Mapping[str, Handler],
        *,
        on_exit: Callable[[], None] | None = None,
        workers: int = 8,
        inline: Collection[str] = (),
    ) -> None:
        self.role = role
        self._on_exit = on_exit
        self._process: subprocess.Popen[bytes] = launch_enclave(role, launcher_settings)
        if self._process.stdout is None or self._process.stdin is None:
            raise RuntimeError("the launcher was started without a door")
        self.door = Door(
            cast("BinaryIO", self._process.stdout),
            cast("BinaryIO", self._process.stdin),
            handlers,
            workers=workers,
            inline=inline,
            on_log=self._print,
        )
        self._thread = threading.Thread(target=self._serve, name=f"door-{role}", daemon=True)
        self._thread.start()
        log_event(_log, "enclave_started", role=role, pid=self._process.pid)

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """Ask the enclave. Raises its `Refusal`, `PeerClosedError` when it is gone, `TimeoutError`."""
        return self.door.call(name, body, seconds=seconds)

    def ask(self, name: str, body: bytes) -> Future[bytes]:
        """Ask the enclave and do not wait. As `Door.ask`."""
        return self.door.ask(name, body)

    def notify(self, name: str, body: bytes) -> None:
        """Tell the enclave; no answer."""
        self.door.notify(name, body)

    @property
    def alive(self) -> bool:
        """Whether the door is open."""
        return not self.door.closed.is_set()

    @property
    def pid(self) -> int:
        """Process id of the launcher, parent of the enclave."""
        return self._process.pid

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the enclave is gone; whether it is."""
        return self.door.closed.wait(seconds)

    def stop(self, seconds: float = 5.0) -> None:
        """Close the door, which ends the enclave and its sandbox; kill the launcher if it outlives `seconds`."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join(timeout=seconds)

    def _serve(self) -> None:
        self.door.serve()
        status = self._process.wait()
        log_event(_log, "enclave_ended", role=self.role, pid=self._process.pid, exit_status=status)
        if self._on_exit is not None:
            self._on_exit()

    def _print(self, event: bytes) -> None:
        sys.stderr.write(event.decode("utf-8", errors="replace") + "\n")
        sys.stderr.flush()
