"""The enclaves of a leak meter: real processes, the real door, forked from one that has their code (side: owner).

A trainer and a parameter server live for one job. What differs from the product: they are forked instead of launched
and measured (which takes a second), quotes come from the simulated platform without the launcher between, sandboxes
from a zygote (bench/leak_sandboxes), and a bundle's graph was exported before and is handed over as the sandbox would.
A trainer keeps fewer units than one does, so that it reads small data as it would large ones: until its job ends.
"""

import contextlib
import json
import os
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.leak_plants import PLANTS
from bench.leak_sandboxes import SandboxPool
from bench.leak_secrets import Side
from common import data_shares
from common.bundle import BundleContents
from common.crypto.signing import SigningKey
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.exchange import clock
from common.messages.enclave_events import EnclaveReady
from common.messages.order import Schedule
from common.sandbox.native import NativeTrainingSandbox
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import STARTUP_SECONDS, SandboxLimits, SandboxSeeds
from services.paramserver.enclave import ParameterServerEnclave
from services.trainer_enclave import enclave as trainer_module
from services.trainer_enclave import keeping, walking
from services.trainer_enclave.provider_work import Starts
from tests.fakes.broker_world import MEASUREMENTS, TestRuntime

ROLES: Final = ("paramserver", "trainer")
EXPORT_SECONDS: Final = 0.2
"""Until a graph that was exported before is there."""

KEPT_UNITS, WINDOW_UNITS, LEAD_UNITS = 4, 2, 1
"""In place of 64, 32 and 16 (common/data_shares): the data of a meter's jobs have five."""

_MESSAGE_BYTES: Final = 1024


@dataclass
class _Recorded:
    """An export sandbox whose document is known."""

    written: bytes | None

    def run(self, deadline_seconds: float) -> bytes | None:
        """After a while, it."""
        time.sleep(min(EXPORT_SECONDS, deadline_seconds))
        return self.written

    def stop(self) -> None:
        """It ends soon enough."""


@dataclass(frozen=True)
class EnclaveSettings:
    """What the forking process needs. `graphs`: what each side's export writes; `release_seconds`: in place of the
    constant of common/exchange/clock; `small`: data are as small as they are, and a trainer keeps them.
    """

    directory: Path
    sides: tuple[Side, Side]
    schedule: Schedule
    graphs: tuple[bytes | None, bytes | None]
    release_seconds: float
    small: bool = False

    @property
    def rows_per_round(self) -> int:
        """Rows that a sandbox is made for."""
        return self.schedule.steps_per_round * self.schedule.batch_rows


class EnclaveForks:
    """Forks an enclave at each word of a control socket, until all of them are closed."""

    def __init__(self, settings: EnclaveSettings, controls: Sequence[socket.socket]) -> None:
        self._settings, self._controls = settings, list(controls)
        self._contents = tuple(side.bundle() for side in settings.sides)
        self._pools: list[SandboxPool] = []
        platform = SimulatedPlatform.open_or_create(settings.directory / "platform")
        trust = TrustSettings(
            release_keys=(SigningKey.generate().party,), release_threshold=1, allowed_roots=(platform.allowed_root,),
            production=False,
        )  # fmt: skip
        self._runtimes = {role: TestRuntime(platform, MEASUREMENTS[role], trust) for role in ROLES}
        self._children: set[int] = set()

    def serve(self) -> None:
        """Say `ready` on each, then fork at each request: {"role", "side", "plant"} with the door's two descriptors."""
        require_confinement()
        setattr(clock, "RELEASE_SECONDS", self._settings.release_seconds)  # noqa: B010 - a constant, but for a meter
        if not self._settings.small:
            _keep_little()
        self._pools = self._fill()
        clock.spare_imports()
        for control in self._controls:
            control.send(b"ready")
        while self._controls:
            for control in select.select(self._controls, [], [])[0]:
                self._answer(control)
        for pool in self._pools:
            pool.close()

    def _answer(self, control: socket.socket) -> None:
        message, fds, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
        if not message:
            self._controls.remove(control)
            control.close()
            return
        self._reap()
        control.send(json.dumps(self._fork(json.loads(message), fds)).encode())

    def _fill(self) -> list[SandboxPool]:
        pools = [
            SandboxPool(contents, self._settings.rows_per_round, f"side-{number}")
            for number, contents in enumerate(self._contents)
        ]
        deadline = time.monotonic() + STARTUP_SECONDS
        for pool in pools:
            pool.await_ready(deadline)
        return pools

    def _reap(self) -> None:
        for pid in list(self._children):
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    continue
            self._children.discard(pid)

    def _fork(self, asked: dict[str, str | int | None], fds: list[int]) -> dict[str, int | str]:
        side, role = int(asked["side"] or 0), str(asked["role"])
        if role == "trainer" and self._pools[side].used_up:
            for pool in self._pools:
                pool.close()
            self._pools = self._fill()
        pid = os.fork()
        if pid == 0:
            try:
                self._live(role, side, asked["plant"], fds)
            finally:
                os._exit(70)
        for fd in fds:
            os.close(fd)
        self._children.add(pid)
        name = self._pools[side].next_name
        if role == "trainer":
            self._pools[side].pass_on()
        return {"pid": pid, "sandbox": name}

    def _live(self, role: str, side: int, plant: str | int | None, fds: list[int]) -> None:
        """Be that enclave; never returns."""
        for control in self._controls:
            control.close()
        for number, pool in enumerate(self._pools):
            pool.keep_out(but_next=role == "trainer" and number == side)
        for fd, place in zip(fds, (0, 1), strict=True):
            os.dup2(fd, place)
            os.close(fd)
        if plant is not None and PLANTS[str(plant)].role == role:
            install = PLANTS[str(plant)].install
            if install is not None:
                install()
        if role == "trainer":
            self._live_as_trainer(side)
        enclave = ParameterServerEnclave(self._runtimes[role], os.fdopen(0, "rb"), os.fdopen(1, "wb"))
        enclave.door.log(EnclaveReady(role="paramserver"))
        enclave.door.serve()
        os._exit(0)

    def _live_as_trainer(self, side: int) -> None:
        pool, written = self._pools[side], self._settings.graphs[side]

        def start(
            _contents: BundleContents, rows: int, _seeds: SandboxSeeds, _limits: SandboxLimits, _counts: bool
        ) -> NativeTrainingSandbox:
            return pool.start(rows)

        starts = Starts(sandbox=start, export=lambda *_: _Recorded(written))
        setattr(trainer_module, "Starts", lambda **_: starts)  # noqa: B010 - the module's name is replaced, not its class
        enclave = trainer_module.TrainerEnclave(self._runtimes["trainer"])
        enclave.door.log(EnclaveReady(role="trainer"))
        enclave.door.serve()
        os._exit(0)


def _keep_little() -> None:
    for module in (data_shares, keeping, walking):
        for name, units in {"KEPT_UNITS": KEPT_UNITS, "WINDOW_UNITS": WINDOW_UNITS, "LEAD_UNITS": LEAD_UNITS}.items():
            if hasattr(module, name):
                setattr(module, name, units)


def serve_enclaves(settings: EnclaveSettings, controls: Sequence[socket.socket]) -> None:
    """Entry of the process."""
    EnclaveForks(settings, controls).serve()
