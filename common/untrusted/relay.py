"""The host process's end of one enclave's door: it carries sealed bytes to brokers, stores and HTTP (side: host).

An enclave holds no queue, web or container client; its relay does. `EnclaveRelay` starts the launcher, serves the door
on a thread of its own, answers what every enclave may ask (`broker.ask`, `object.*`), prints the enclave's events, and
ends the enclave when it is stopped. It sees what the host is meant to see: ciphertext, sizes and public values.
"""

import functools
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from common.door import Door, Handler
from common.errors import FormatError
from common.event_log import log_event
from common.identifiers import Digest
from common.untrusted.enclave_log import note_event
from common.untrusted.launching import LaunchedEnclave, launcher_of

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

    `role` is a role of common/enclave/roles; `launcher_settings` a launcher's settings file, whose type says whether
    the enclave is a process or a container (common/untrusted/launching); `handlers` come on top of the common ones, and
    those named in `inline` are short (`Door`); `on_exit` runs once, on the door's thread, when the enclave is gone.
    Raises `Refusal` where it can't be launched.
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
        self._enclave: LaunchedEnclave = launcher_of(launcher_settings).launch(role)
        self.door = Door(
            self._enclave.reader,
            self._enclave.writer,
            handlers,
            workers=workers,
            inline=inline,
            on_log=functools.partial(note_event, role),
        )
        self._thread = threading.Thread(target=self._serve, name=f"door-{role}", daemon=True)
        self._thread.start()
        log_event(_log, "enclave_started", role=role, pid=self.pid)

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
        """Process id of what was launched: the launcher, or the first process of a container."""
        return self._enclave.pid

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the enclave is gone; whether it is."""
        return self.door.closed.wait(seconds)

    def stop(self, seconds: float = 5.0) -> None:
        """Close the door, which ends the enclave and its sandbox; kill what outlives `seconds`."""
        self._enclave.writer.close()
        try:
            self._enclave.wait(seconds)
        except TimeoutError:
            self._enclave.kill()
            self._enclave.wait()
        self._thread.join(timeout=seconds)

    def _serve(self) -> None:
        self.door.serve()
        status = self._enclave.wait()
        self._enclave.reader.close()
        log_event(_log, "enclave_ended", role=self.role, pid=self.pid, exit_status=status)
        if self._on_exit is not None:
            self._on_exit()
