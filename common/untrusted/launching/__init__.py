"""How a relay gets its enclave: one protocol, three ways (side: host).

    processes    launcher and enclave as processes of this machine: everywhere, the default
    containers   the same in a container of its own, through a Docker engine: whoever speaks to it is root there
    sockets      from a process that holds the engine and starts what it is set to: the caller gets the door alone

Which one it is says the `type` of the settings file that a relay is given. None of it bears on trust: what was launched
tells its quote, and keys go to nothing else.
"""

import json
from pathlib import Path
from typing import BinaryIO, Protocol

from common.errors import UnavailableError


class LaunchedEnclave(Protocol):
    """One enclave, from its start to its end. Closing `writer` closes the door, which ends it."""

    @property
    def reader(self) -> BinaryIO:
        """What comes out of the door."""

    @property
    def writer(self) -> BinaryIO:
        """What goes into it."""

    @property
    def pid(self) -> int:
        """Process id of what ends with the enclave, and the enclave with it, on the machine that runs both."""

    def wait(self, seconds: float | None = None) -> int | None:
        """Until it has ended: its exit status (128 + signal when killed), None where nobody knows.

        Raises `TimeoutError` when it has not ended within `seconds`.
        """

    def kill(self) -> None:
        """End it now, whatever it does."""


class EnclaveLauncher(Protocol):
    """Starts enclaves."""

    def launch(self, role: str) -> LaunchedEnclave:
        """Start one of a role of common/enclave/roles. Raises `Refusal`, also where nothing can be started now."""


def launcher_of(settings: Path) -> EnclaveLauncher:
    """The launcher of a settings file. Raises `UnavailableError` (unavailable.launcher) where there is no such file."""
    try:
        kind = json.loads(settings.read_bytes()).get("type")
    except (OSError, ValueError, AttributeError) as cause:
        raise UnavailableError("unavailable.launcher", expected=f"settings of a launcher in {settings}") from cause
    if kind == "container-launcher-settings":
        from common.untrusted.launching.containers import ContainerLauncher

        return ContainerLauncher.of(settings)
    if kind == "launch-socket-settings":
        from common.untrusted.launching.sockets import SocketLauncher

        return SocketLauncher.of(settings)
    from common.untrusted.launching.processes import ProcessLauncher

    return ProcessLauncher(settings)
