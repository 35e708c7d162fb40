"""Two processes that own the whole stack (side: host): `python -m deploy.embedded.supervisor --state DIR`.

The *guardian* holds the lock and is the parent of the *supervisor*, which is the parent of every service. Both are
subreapers (processes.py). Whichever of them is killed, nothing is left:
  (1) the supervisor ends in order: it stops the services, then ends whatever is below it;
  (2) the supervisor is killed: all its descendants become the guardian's, which ends them and then itself;
  (3) the guardian is killed: the supervisor gets SIGTERM and ends in order (1);
  (4) both are killed at once: every service gets SIGKILL by its parent-death signal, and its children theirs.
With `--tied` the stack also ends when its standard input is closed, so with the program that started it, unless that
has written a byte to it before.
"""

import argparse
import contextlib
import importlib
import logging
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from common.errors import CloisterError
from common.event_log import configure_host_logging, log_event
from deploy.embedded.processes import become_subreaper, children_of, descendants_of, kill_descendants, tie_to
from deploy.embedded.service_run import ServiceRun
from deploy.embedded.specification import Table
from deploy.embedded.state import StateDirectory, write_private
from deploy.embedded.status import StackStatus, overall_state

DEFAULT_TABLE: Final = "deploy.embedded.table:whole_stack"
EXIT_ALREADY_UP: Final = 75  # EX_TEMPFAIL of sysexits.h
UNTIE: Final = b"\n"
"""On the standard input of a tied stack: it may go on when that is closed."""

_log: Final = logging.getLogger("supervisor")
_STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_WAKE_SIGNALS: Final = (*_STOP_SIGNALS, signal.SIGCHLD)
_STARTING_PAUSE_SECONDS: Final = 0.05
_READY_PAUSE_SECONDS: Final = 0.5
_ORPHAN_SECONDS: Final = 2.0
"""What an orphaned child of a service gets to end by itself: closed doors and pipes tell it to."""


class Supervisor:
    """Starts, watches, restarts and stops the services. One thread: it forks, and signals wake it."""

    def __init__(self, state: StateDirectory, table: Table, guardian_pid: int) -> None:
        self._state, self._guardian_pid, self._started_at = state, guardian_pid, time.time()
        self._runs = [ServiceRun(spec, state.log_file(spec.name)) for spec in table(state)]
        self._orphans: dict[int, float] = {}
        self._published: StackStatus | None = None

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT; then stop everything."""
        while True:
            ready = {run.spec.name for run in self._runs if run.state == "ready"}
            for run in self._runs:
                run.step(ready)
            self._end_orphans()
            status = self._publish()
            pause = _READY_PAUSE_SECONDS if status.state == "ready" else _STARTING_PAUSE_SECONDS
            woken = signal.sigtimedwait(_WAKE_SIGNALS, pause)
            if woken is not None and woken.si_signo in _STOP_SIGNALS:
                break
        self._stop()

    def _stop(self) -> None:
        log_event(_log, "stack_stopping")
        left = [run for run in self._runs if run.pid is not None]
        while left:
            needed = {name for run in left for name in run.spec.depends_on}
            free = [run for run in left if run.spec.name not in needed] or left
            wave = [run for run in free if not run.spec.infrastructure] or free
            self._stop_wave(wave)
            left = [run for run in left if run not in wave]
        survivors = kill_descendants()
        log_event(_log, "stack_stopped", count=len(survivors))

    def _stop_wave(self, wave: list[ServiceRun]) -> None:
        for run in wave:
            run.state = "stopping"
            run.signal_main(signal.SIGTERM)
        begun = time.monotonic()
        while wave_left := [run for run in wave if not run.collect()]:
            for run in wave_left:
                if time.monotonic() - begun > run.spec.stop_seconds:
                    run.signal_group(signal.SIGKILL)
            self._publish()
            signal.sigtimedwait((signal.SIGCHLD,), _STARTING_PAUSE_SECONDS)
        for run in wave:
            run.state = "stopped"

    def _end_orphans(self) -> None:
        """End processes that a service left behind: they became children of this subreaper."""
        ours = {run.pid for run in self._runs}
        now = time.monotonic()
        strangers = [pid for pid in children_of(os.getpid()) if pid not in ours]
        self._orphans = {pid: self._orphans.get(pid, now) for pid in strangers}
        for pid, seen_at in self._orphans.items():
            if _reap(pid) or now - seen_at < _ORPHAN_SECONDS:
                continue
            log_event(_log, "orphan_killed", logging.WARNING, pid=pid)
            for member in (*descendants_of(pid), pid):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(member, signal.SIGKILL)

    def _publish(self) -> StackStatus:
        services = tuple(run.status() for run in self._runs)
        stopping = any(service.state in ("stopping", "stopped") for service in services)
        status = StackStatus(
            state="stopping" if stopping else overall_state(services),
            guardian_pid=self._guardian_pid,
            supervisor_pid=os.getpid(),
            started_at=self._started_at,
            services=services,
            ports=self._state.ports(),
        )
        if status != self._published:
            write_private(self._state.status_file, status.encode())
            self._published = status
        return status


def guard(supervisor: int, tied_to: int | None) -> int:
    """Wait for the supervisor's end, then end everything below. Returns its exit status.

    SIGTERM and SIGINT are passed on to it; so is end of file on `tied_to`, unless `UNTIE` comes before.
    """
    for signum in _STOP_SIGNALS:
        signal.signal(signum, lambda *_: os.kill(supervisor, signal.SIGTERM))
    watched = select.poll()
    ended = os.pidfd_open(supervisor)
    watched.register(ended, select.POLLIN)
    if tied_to is not None:
        watched.register(tied_to, select.POLLIN)
    while ended not in (ready := {descriptor for descriptor, _ in watched.poll()}):
        if tied_to in ready:
            watched.unregister(tied_to)
            if os.read(tied_to, 1) != UNTIE:
                os.kill(supervisor, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(supervisor, 0)[1])
    if status != 0:
        log_event(_log, "supervisor_died", logging.ERROR, pid=supervisor, exit_status=status)
    kill_descendants()
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the lock, fork: the parent guards, the child supervises."""
    parser = argparse.ArgumentParser(description="Own the processes of the embedded stack.")
    parser.add_argument("--state", type=Path, required=True, help="state directory")
    parser.add_argument("--table", default=DEFAULT_TABLE, help="MODULE:FUNCTION that names the services")
    parser.add_argument("--tied", action="store_true", help="stop when standard input is closed")
    chosen = parser.parse_args(arguments)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # no core file of a host process lies about
    state = StateDirectory(chosen.state)
    state.prepare()
    configure_host_logging("supervisor")
    lock = state.lock()
    if lock is None:
        log_event(_log, "stack_is_up_already")
        return EXIT_ALREADY_UP
    become_subreaper()
    guardian = os.getpid()
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(guardian).encode(), 0)
    supervisor = os.fork()
    if supervisor == 0:
        os._exit(_supervise(state, chosen.table, guardian))
    try:
        return guard(supervisor, sys.stdin.fileno() if chosen.tied else None)
    finally:
        state.status_file.unlink(missing_ok=True)


def _supervise(state: StateDirectory, table: str, guardian: int) -> int:
    tie_to(guardian, signal.SIGTERM)()
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAKE_SIGNALS)
    become_subreaper()
    try:
        module, _, function = table.partition(":")
        state.forget_ports()
        Supervisor(state, getattr(importlib.import_module(module), function), guardian).run()
    except CloisterError as refusal:
        log_event(_log, "stack_refused", logging.ERROR, reason=str(refusal))
        return 1
    except Exception as cause:
        where = traceback.extract_tb(cause.__traceback__)[-1]  # the text may quote a setting: its place does not
        reason = f"{type(cause).__name__} at {Path(where.filename).name}:{where.lineno}"
        log_event(_log, "supervisor_failed", logging.ERROR, reason=reason)
        return 1
    finally:
        kill_descendants()
    return 0


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


if __name__ == "__main__":
    sys.exit(main())
