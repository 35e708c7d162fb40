"""A real TPM 2.0 in software (swtpm), in a process and a directory of its own, and a broker that it witnesses for.

It answers like a chip. What it is not: a place where its host can't reach; `SoftwareTpm.copy` takes what a chip keeps.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from client.tpm.carrier import CounterCarrier
from client.tpm.commands import Tpm
from common.errors import CloisterError, UnavailableError
from common.messages.tpm_counter import TpmCounter
from common.tpm_host.device import open_tpm
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import BrokerWorld, MemoryStore

INDEX: Final = 0x01500020
_START_SECONDS: Final = 10.0


def require_installed(name: str) -> str:
    """Where this program of swtpm's is. Skip on a laptop without it, fail in CI."""
    program = shutil.which(name, path="/usr/local/bin:/usr/bin:/bin")
    if program is None:
        text = f"not installed: {name}"
        if os.environ.get("CI"):
            pytest.fail(text, pytrace=False)
        pytest.skip(text)
    return program


class SoftwareTpm:
    """One TPM; `start` powers it on. Its directory lies under /tmp: a socket's path is short."""

    def __init__(self) -> None:
        self._program = require_installed("swtpm")
        self._place = Path(tempfile.mkdtemp(prefix="swtpm-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.state = self._place / "state"
        self.state.mkdir()
        self.start()

    @property
    def name(self) -> str:
        return f"unix:{self._place}/socket"

    def start(self) -> None:
        socket = self._place / "socket"
        socket.unlink(missing_ok=True)
        command = [
            self._program, "socket", "--tpm2", "--tpmstate", f"dir={self.state}", "--server",
            f"type=unixio,path={socket}", "--flags", "not-need-init,startup-clear",
        ]  # fmt: skip
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens():
            assert time.monotonic() < deadline, "swtpm does not start"
            time.sleep(0.005)

    def _listens(self) -> bool:
        try:
            open_tpm(self.name).close()
        except UnavailableError:
            return False
        return True

    def cut_power(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def copy(self) -> Path:
        """What no chip gives away: all of its state."""
        copied = self._place / f"copy-{time.monotonic_ns()}"
        shutil.copytree(self.state, copied)
        return copied

    def put_back(self, copied: Path) -> None:
        """Set it back, as nobody can a chip."""
        self.cut_power()
        shutil.rmtree(self.state)
        shutil.copytree(copied, self.state)
        self.start()

    def open(self, index: int = INDEX) -> Tpm:
        return Tpm(open_tpm(self.name), index)

    def close(self) -> None:
        self.cut_power()
        shutil.rmtree(self._place)


def pin_counter(software: SoftwareTpm) -> TpmCounter:
    """Make the counter; what a genesis names."""
    tpm = software.open()
    try:
        tpm.define_counter()
        return TpmCounter(endorsement_key=tpm.endorsement_key.digest, index=INDEX, value=tpm.counter() or 0)
    finally:
        tpm.close()


class Service:
    """The attestation service's one path over a broker in this process."""

    def __init__(self, world: BrokerWorld) -> None:
        self.world = world

    def post(self, path: str, body: bytes) -> bytes:
        assert path == "/v1/broker"
        return self.world.handle(body)


class Counted:
    """A broker whose only witness is a counter of this TPM."""

    def __init__(self, directory: Path, software: SoftwareTpm) -> None:
        self.directory, self.software = directory, software
        self.pinned = pin_counter(software)
        self.world = BrokerWorld(directory)
        self.world.rule = WitnessRule((), 1, (self.pinned,))
        self.world.restart(MemoryStore())
        self.carrier = CounterCarrier(Service(self.world), self.software.open, directory / "steps.json")

    def again(self, name: str = "steps.json") -> CounterCarrier:
        """The carrier's process, started anew; another name is another carrier's file."""
        self.carrier.close()  # the emulator hears one at a time
        self.carrier = CounterCarrier(Service(self.world), self.software.open, self.directory / name)
        return self.carrier

    def sees_all(self) -> bool:
        return self.world.context.anchor.unconfirmed == 0

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Inside, the carrier has every decision confirmed as soon as it is made."""
        world, left = self.world, threading.Event()
        world.confirm_seconds = world.core._confirm_seconds = 30.0
        self.carrier.round()

        def attend() -> None:
            while not left.is_set():
                try:
                    if not self.carrier.follow():
                        self.carrier.round()
                except CloisterError:
                    left.wait(0.01)

        thread = threading.Thread(target=attend, name="carrier")
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()
            world.confirm_seconds = world.core._confirm_seconds = 0.0
