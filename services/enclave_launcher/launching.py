"""One caller, from the role that it names to the end of the enclave that it got (side: host)."""

import contextlib
import logging
import socket
import threading
from typing import Protocol

from common.errors import Refusal, UnavailableError
from common.event_log import log_event
from common.untrusted.launching.containers import LaunchedContainer
from common.untrusted.launching.sockets import MAX_PACKET_BYTES, give, refuse, tell_end

_log = logging.getLogger("launcher.service")

HELLO_SECONDS = 10.0


class Starts(Protocol):
    """What starts containers."""

    def start(self, role: str) -> LaunchedContainer:
        """Start an enclave of this role."""


class LaunchDesk:
    """Serves callers, each on a thread of its own; `most` enclaves at once."""

    def __init__(self, launcher: Starts, most: int) -> None:
        self._launcher, self._seats = launcher, threading.BoundedSemaphore(most)

    def attend(self, connection: socket.socket) -> None:
        """Serve one caller to its end."""
        with connection, contextlib.suppress(OSError):
            try:
                launched = self._launch(connection)
            except Refusal as refusal:
                log_event(_log, "launch_refused", logging.WARNING, code=refusal.code, reason=refusal.in_full())
                refuse(connection, refusal)
                return
            try:
                self._hold(connection, launched)
            finally:
                self._seats.release()

    def _launch(self, connection: socket.socket) -> LaunchedContainer:
        connection.settimeout(HELLO_SECONDS)
        role = connection.recv(MAX_PACKET_BYTES).decode("ascii", errors="replace")
        connection.settimeout(None)
        if not self._seats.acquire(blocking=False):
            raise UnavailableError("unavailable.launcher", expected="fewer enclaves at once")
        try:
            launched = self._launcher.start(role)
        except BaseException:
            self._seats.release()
            raise
        log_event(_log, "enclave_launched", role=role, pid=launched.pid)
        return launched

    def _hold(self, connection: socket.socket, launched: LaunchedContainer) -> None:
        reporter = threading.Thread(target=_report_end, args=(connection, launched), daemon=True)
        reporter.start()
        try:
            give(connection, launched)
            connection.recv(1)  # nothing more is asked: this returns when the caller has let go, or when it is over
        finally:
            launched.kill()
            reporter.join()


def _report_end(connection: socket.socket, launched: LaunchedContainer) -> None:
    status = launched.wait()
    log_event(_log, "enclave_ended", pid=launched.pid, exit_status=status)
    with contextlib.suppress(OSError):
        tell_end(connection, status)
        connection.shutdown(socket.SHUT_RD)
