"""Enclaves as processes of this machine (side: host): the launcher of common/enclave, over two pipes."""

import subprocess
from pathlib import Path
from typing import BinaryIO, cast

from common.enclave.launcher import launch_enclave

_SIGNALLED = 128


class LaunchedProcess:
    """A launcher process with its enclave."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def reader(self) -> BinaryIO:
        """Its stdout."""
        return cast("BinaryIO", self._process.stdout)

    @property
    def writer(self) -> BinaryIO:
        """Its stdin."""
        return cast("BinaryIO", self._process.stdin)

    @property
    def pid(self) -> int:
        """Of the launcher, parent of the enclave."""
        return self._process.pid

    def wait(self, seconds: float | None = None) -> int:
        """As `LaunchedEnclave.wait`."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise TimeoutError(f"the launcher runs after {seconds} s") from late
        return status if status >= 0 else _SIGNALLED - status

    def kill(self) -> None:
        """The enclave dies with its launcher."""
        self._process.kill()


class ProcessLauncher:
    """`EnclaveLauncher` for a file of `LauncherSettings`. A launcher ends with this process."""

    def __init__(self, settings: Path) -> None:
        self._settings = settings

    def launch(self, role: str) -> LaunchedProcess:
        """Start launcher and enclave; what is refused is refused by the launcher, which ends."""
        return LaunchedProcess(launch_enclave(role, self._settings))
