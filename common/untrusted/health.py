"""`/healthz`, `/readyz` and `/carried`, the same for every service and worker (side: host).

`/healthz`: 200 while the process answers. `/readyz`: 200 when nothing is waited for, else 503; the body names what is:
`{"ready": false, "waiting_for": ["rabbitmq"]}`. What does not work and is not waited for stands in `notes`: names, each
with its public code, if there is any, and the time until it counts. Names, codes and times only: no addresses, no error
texts. `/carried`: see there.
"""

import contextlib
import ipaddress
import json
import logging
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from common.errors import FormatError, NotFoundError, Refusal
from common.event_log import log_event
from common.messages.service import RefusalBody
from common.untrusted.carried import NOTHING, Carried, report_carried

_log = logging.getLogger("health")

LOOPBACK: Final = "127.0.0.1"
_REQUEST_SECONDS: Final = 10
_METHOD_NOT_ALLOWED: Final = 405
_UNKNOWN_METHOD: Final = 501
"""What `http.server` says of a method that has no handler."""

Check = Callable[[], bool]
"""Whether one part is there; an exception counts as no."""


class Readiness:
    """What a service waits for, by name, in the order in which it was given; `notes`: what it goes on without."""

    def __init__(self, checks: Mapping[str, Check], *, notes: Callable[[], Mapping[str, str]] = dict) -> None:
        self._checks, self._notes = dict(checks), notes

    def waiting_for(self) -> list[str]:
        """The names of the parts that are not there."""
        return [name for name, check in self._checks.items() if not _holds(check)]

    def report(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/readyz`."""
        missing, notes = self.waiting_for(), dict(self._notes())
        body = {"ready": not missing, "waiting_for": missing} | ({"notes": notes} if notes else {})
        return (503 if missing else 200), body


def is_this_machine(address: str | None) -> bool:
    """Whether a request comes from here."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address or "").is_loopback
    return False


def _holds(check: Check) -> bool:
    try:
        return check()
    except Exception:
        return False


class HealthServer:
    """The three paths for a process that has no web application; serves on a thread until `stop`."""

    def __init__(self, port: int, readiness: Readiness, *, host: str = LOOPBACK, carried: Carried = NOTHING) -> None:
        class Handler(_HealthHandler):
            checks = readiness
            counts = carried

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()
        log_event(_log, "health_served", port=self.port)

    @property
    def port(self) -> int:
        """The port, also when 0 was asked for."""
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _HealthHandler(BaseHTTPRequestHandler):
    checks: Readiness
    counts: Carried
    timeout = _REQUEST_SECONDS
    server_version = "cloister"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path == "/healthz":
            self._answer(200, {"alive": True})
        elif self.path == "/readyz":
            self._answer(*self.checks.report())
        elif self.path == "/carried" and is_this_machine(self.client_address[0]):
            self._answer(200, report_carried(self.counts))
        else:
            self.send_error(404)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Refuse as every service does: the base class's page quotes what was sent."""
        refusal: Refusal = NotFoundError("not_found.path") if code == 404 else FormatError("format.message")
        self.close_connection = True
        self.request_version = self.protocol_version  # to what is no HTTP it would send a body without a head
        self._send(_METHOD_NOT_ALLOWED if code == _UNKNOWN_METHOD else code, RefusalBody.of(refusal).encode())

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, json.dumps(body).encode())

    def _send(self, status: int, raw: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has not waited for the answer
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a poll every second is not an event."""
