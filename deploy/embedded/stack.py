"""The embedded stack as an object: what the command line, the demo and pytest call (side: host)."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from common.errors import ConflictError, UnavailableError
from deploy.embedded.installation import require_installed, require_same_build
from deploy.embedded.processes import descendants_of, start_times
from deploy.embedded.rabbitmq import amqp_url
from deploy.embedded.redis_server import redis_url
from deploy.embedded.specification import CODE_ROOT, base_environment
from deploy.embedded.state import StateDirectory
from deploy.embedded.status import StackStatus
from deploy.embedded.supervisor import DEFAULT_TABLE, EXIT_ALREADY_UP, UNTIE

READY_SECONDS: Final = 120.0
STOP_SECONDS: Final = 90.0
_KILL_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = 0.05
_DOWN: Final = StackStatus(state="down")


class EmbeddedStack:
    """One stack, named by its state directory. Any process of its user may look at it and stop it.

    `table` ("MODULE:FUNCTION") names the services; tests give their own.
    """

    def __init__(self, state_directory: Path, table: str = DEFAULT_TABLE) -> None:
        self.state = StateDirectory(state_directory)
        self._table = table
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    def amqp_url(self) -> str:
        """RabbitMQ's address with credentials, while it is up."""
        return amqp_url(self.state)

    @property
    def redis_url(self) -> str:
        """Redis's address with credentials, while it is up."""
        return redis_url(self.state)

    def url(self, service: str) -> str:
        """The HTTP address of a service, while it is up. Raises `KeyError` for a service that is not in the table."""
        return f"http://127.0.0.1:{self.state.ports()[service]}"

    @property
    def is_ours(self) -> bool:
        """Whether this object started what runs; false where nothing was started, or another start was faster."""
        return self._guardian is not None and self._guardian.poll() != EXIT_ALREADY_UP

    def start(self, *, tied: bool = False, hand_over: bool = False, leave_behind: bool = False) -> None:
        """Start it in the background and return at once.

        With `tied` it stops when this process ends, however it ends, unless `untie` was called before. With `hand_over`
        a key broker of another build hands its state over to this one, with `leave_behind` even without the keys of
        parties whose terms do not accept this build's release.
        Raises `ConflictError` (conflict.stack_up, conflict.state_directory) and `UnavailableError`
        (unavailable.installation).
        """
        require_installed()
        self.state.prepare()
        if self.state.is_locked():
            raise ConflictError("conflict.stack_up", seen=self.state.root)
        require_same_build(self.state, hand_over=hand_over)
        self.state.set_leave_behind(wanted=leave_behind)
        self.state.status_file.unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "deploy.embedded.supervisor", "--state", str(self.state.root)]
        command += ["--table", self._table, *(["--tied"] if tied else [])]
        with _append_private(self.state.log_file("supervisor")) as log:
            self._guardian = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if tied else subprocess.DEVNULL,
                stdout=log.fileno(),
                stderr=log.fileno(),
                cwd=CODE_ROOT,
                env={**base_environment(self.state.root), "PYTHONPATH": str(CODE_ROOT)},
                start_new_session=True,
            )

    def untie(self) -> None:
        """Let it outlive this process, which started it tied."""
        if self._guardian is not None and self._guardian.stdin is not None:
            self._guardian.stdin.write(UNTIE)
            self._guardian.stdin.close()

    def wait_ready(
        self, on_status: Callable[[StackStatus], None] | None = None, seconds: float = READY_SECONDS
    ) -> StackStatus:
        """Wait until every service is ready; `on_status` sees every change. Raises as `watch_ready` does."""
        for status in self.watch_ready(seconds):
            if on_status is not None:
                on_status(status)
        return status

    def watch_ready(self, seconds: float = READY_SECONDS) -> Iterator[StackStatus]:
        """Every change of the status until every service is ready: the last one is `ready`.

        Raises `UnavailableError` (unavailable.stack) when a service was given up, the stack is down, or time is over;
        `ConflictError` (conflict.stack_up) when another start was faster.
        """
        deadline = time.monotonic() + seconds
        shown = None
        while time.monotonic() < deadline:
            status = self.status()
            if status not in (shown, _DOWN):
                yield status
            shown = status
            if status.state == "ready":
                return
            if status.state in ("failed", "stopping") or self._has_ended(status):
                break
            time.sleep(_PAUSE_SECONDS)
        raise UnavailableError("unavailable.stack", expected="every service ready", seen=self._trouble())

    def status(self) -> StackStatus:
        """How it is now. `down` when nobody holds the lock of its state directory."""
        if not self.state.is_locked():
            return _DOWN
        with contextlib.suppress(FileNotFoundError):
            return StackStatus.decode(self.state.status_file.read_bytes())
        return StackStatus(state="starting")

    def stop(self, seconds: float = STOP_SECONDS) -> bool:
        """Stop it in order, by force after `seconds`, and see that no process is left. False when it was down.

        Raises `UnavailableError` (unavailable.stack) naming the processes that even SIGKILL did not end.
        """
        if not self._is_up():
            self._collect()
            return False
        guardian = self._guardian_pid()
        members = start_times([guardian, *descendants_of(guardian)])
        _signal(guardian, signal.SIGTERM)
        if not self._wait_down(seconds):
            for pid in start_times(members):
                _signal(pid, signal.SIGKILL)
            self._wait_down(_KILL_SECONDS)
        self._collect()
        left = {pid: at for pid, at in start_times(members).items() if members[pid] == at}
        if left or self._is_up():
            raise UnavailableError("unavailable.stack", expected="no process left", seen=sorted(left))
        return True

    def clean(self) -> bool:
        """Remove the state directory and all that was stored in it. False when there is none.

        Raises `ConflictError` (conflict.stack_up) while it is up, (conflict.state_directory) when it is not ours.
        """
        if self.state.is_locked():
            raise ConflictError("conflict.stack_up", seen=self.state.root)
        if not self.state.root.exists():
            return False
        self.state.remove()
        return True

    def _is_up(self) -> bool:
        """Whether its lock is held, or the guardian that was started here is about to take it."""
        return self.state.is_locked() or (self._guardian is not None and self._guardian.poll() is None)

    def _guardian_pid(self) -> int:
        if self._guardian is not None and self._guardian.poll() is None:
            return self._guardian.pid
        deadline = time.monotonic() + _KILL_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(ValueError):
                return int(self.state.lock_file.read_text())
            time.sleep(_PAUSE_SECONDS)
        raise UnavailableError("unavailable.stack", expected="a guardian's number in run/lock")

    def _wait_down(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self._is_up() and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)
        return not self._is_up()

    def _has_ended(self, status: StackStatus) -> bool:
        code = self._guardian.poll() if self._guardian is not None else None
        if code == EXIT_ALREADY_UP:
            raise ConflictError("conflict.stack_up", seen=self.state.root)
        return code is not None or (self._guardian is None and status.state == "down")

    def _collect(self) -> None:
        """Reap the guardian where it is this process's child."""
        if self._guardian is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.wait(timeout=0 if self.state.is_locked() else _KILL_SECONDS)

    def _trouble(self) -> str:
        waiting = ", ".join(f"{name} waits for {' and '.join(what)}" for name, what in self.status().waiting.items())
        return f"{waiting or 'the supervisor has ended'}; logs in {self.state.logs}"


def _signal(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


@contextlib.contextmanager
def _append_private(path: Path) -> Iterator[BinaryIO]:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab") as file:
        yield file
