"""One service and its life: waiting, starting, ready, backing off, failed, stopped (side: host).

`step` is called again and again by the supervisor's only thread; it never blocks for longer than one probe.
"""

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from common.event_log import log_event
from deploy.embedded.processes import tie_to
from deploy.embedded.specification import ServiceSpec
from deploy.embedded.state import write_private
from deploy.embedded.status import ServiceStatus, State

_log: Final = logging.getLogger("supervisor")

MAX_FAILURES: Final = 8
"""Ends in a row, in none of whose lives it was ready, after which a service is given up: a defect, not an accident."""

HEALED_SECONDS: Final = 30.0
"""A service that was ready for so long has no ends behind it: the pauses before its restarts begin anew."""

MISSES: Final = 2
"""Probes in a row that a ready service must miss to count as not ready."""

_PROBE_STARTING_SECONDS: Final = 0.1
_PROBE_READY_SECONDS: Final = 3.0


class ServiceRun:
    """A service in the supervisor's hands."""

    def __init__(self, spec: ServiceSpec, log_file: Path) -> None:
        self.spec = spec
        self.state: State = "waiting"
        self._log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self._waiting_for: tuple[str, ...] = spec.depends_on
        self._starts = self._failures = self._in_vain = self._misses = 0
        self._ready_since: float | None = None
        self._next_at = 0.0  # of the next probe or restart, by the monotonic clock

    @property
    def pid(self) -> int | None:
        """The main process, while it runs."""
        return self._process.pid if self._process else None

    def status(self) -> ServiceStatus:
        """A picture of it now."""
        return ServiceStatus(
            name=self.spec.name,
            state=self.state,
            pid=self.pid,
            waiting_for=self._waiting_for,
            restarts=max(0, self._starts - 1),
            ready_since=self._ready_since,
        )

    def step(self, ready: AbstractSet[str]) -> None:
        """Do what is due. `ready` names the services that are ready."""
        now = time.monotonic()
        if self._process is not None and self.collect():
            self._after_exit(now)
        elif self._process is not None:
            self._probe(now)
        elif self.state == "waiting":
            self._waiting_for = tuple(name for name in self.spec.depends_on if name not in ready)
            if not self._waiting_for:
                self._start()
        elif self.state == "backing_off" and now >= self._next_at:
            self._start()

    def collect(self) -> bool:
        """Whether the main process has ended. If so, whatever is left of its group ends with it."""
        if self._process is None:
            return True
        pid = self._process.pid
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return False
        self.signal_group(signal.SIGKILL)  # before its number is reaped, so that it can't be another's group
        code = self._process.wait()
        self._process, self._ready_since = None, None
        self._log_exit(pid, code)
        return True

    def signal_main(self, signum: signal.Signals) -> None:
        """To the main process alone: it tells its children itself."""
        if self._process is not None:
            self._process.send_signal(signum)

    def signal_group(self, signum: signal.Signals) -> None:
        """To the main process and everything that stayed in its group."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signum)

    def _start(self) -> None:
        for path, content in self.spec.files.items():
            write_private(path, content)
        descriptor = os.open(self._log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                cwd=self.spec.directory,
                env=dict(self.spec.environment),
                start_new_session=True,
                preexec_fn=tie_to(os.getpid(), signal.SIGKILL),  # noqa: PLW1509 - this process has one thread
            )
        except OSError as cause:
            log_event(_log, "service_start_refused", logging.ERROR, service=self.spec.name, reason=cause.strerror)
            self._after_exit(time.monotonic())
            return
        finally:
            os.close(descriptor)
        self._starts += 1
        self.state, self._next_at = "starting", 0.0
        log_event(_log, "service_launched", service=self.spec.name, pid=self._process.pid, count=self._starts)

    def _probe(self, now: float) -> None:
        if now < self._next_at:
            return
        missing = self.spec.probe()
        self._misses = self._misses + 1 if missing else 0
        if self.state == "ready" and 0 < self._misses < MISSES:
            return  # ask again at once: a busy machine answers late now and then
        self._waiting_for = missing
        if missing:
            self.state, self._ready_since = "starting", None
        elif self.state != "ready":
            self.state, self._ready_since, self._in_vain = "ready", time.time(), 0
            log_event(_log, "service_ready", service=self.spec.name, pid=self.pid)
        elif self._ready_since is not None and time.time() - self._ready_since > HEALED_SECONDS:
            self._failures = 0
        self._next_at = time.monotonic() + (_PROBE_READY_SECONDS if self.state == "ready" else _PROBE_STARTING_SECONDS)

    def _after_exit(self, now: float) -> None:
        self._failures, self._in_vain = self._failures + 1, self._in_vain + 1
        if self._in_vain >= MAX_FAILURES:
            self.state, self._waiting_for = "failed", ("a person: see its log",)
            log_event(_log, "service_given_up", logging.ERROR, service=self.spec.name, count=self._in_vain)
            return
        pauses = self.spec.restart_pauses
        pause = pauses[min(self._failures, len(pauses)) - 1]
        self.state, self._waiting_for, self._next_at = "backing_off", ("its next start",), now + pause

    def _log_exit(self, pid: int, code: int) -> None:
        how: dict[str, str | int]
        how = {"exit_status": code} if code >= 0 else {"signal": signal.Signals(-code).name}
        log_event(_log, "service_exited", logging.WARNING, service=self.spec.name, pid=pid, **how)
