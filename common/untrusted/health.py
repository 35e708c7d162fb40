"""`/healthz`, `/readyz`, `/carried` and `/metrics`, the same for every service and worker (side: host).

`/healthz`: 200 while the process answers. `/readyz`: 200 when nothing is waited for, else 503; the body names what is:
`{"ready": false, "waiting_for": ["rabbitmq"]}`, and in `reasons`, where one is known, each with its public code
(`cloister explain`). What does not work and is not waited for stands in `notes`: names, each with its public code, if
there is any, and the time until it counts. Names, codes and times only: no addresses, no error texts. `/carried`,
`/metrics`: see there.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from common.errors import FormatError, NotFoundError, Refusal
from common.event_log import log_event
from common.messages.service import RefusalBody
from common.untrusted.carried import NOTHING, Carried, is_this_machine, report_carried
from common.untrusted.metrics import MEDIA_TYPE, NO_SOURCES, MetricsPage, Source, gauge, plain_gauge

_log = logging.getLogger("health")

LOOPBACK: Final = "127.0.0.1"
_REQUEST_SECONDS: Final = 10
_METHOD_NOT_ALLOWED: Final = 405
_UNKNOWN_METHOD: Final = 501
"""What `http.server` says of a method that has no handler."""

Check = Callable[[], bool]
"""Whether one part is there; an exception counts as no, and of a refusal the code is told."""

JSON: Final = "application/json"


class Readiness:
    """What a service waits for, by name, in the order in which it was given; `notes`: what it goes on without."""

    def __init__(self, checks: Mapping[str, Check], *, notes: Callable[[], Mapping[str, str]] = dict) -> None:
        self._checks, self._notes = dict(checks), notes

    def missing(self) -> dict[str, str | None]:
        """The parts that are not there, each with the code of the reason if that is known."""
        found = {name: _is_missing(check) for name, check in self._checks.items()}
        return {name: code for name, (is_missing, code) in found.items() if is_missing}

    def waiting_for(self) -> list[str]:
        """Their names."""
        return list(self.missing())

    def report(self) -> tuple[int, dict[str, Any]]:
        """Status and body of `/readyz`."""
        missing, notes = self.missing(), dict(self._notes())
        reasons = {name: code for name, code in missing.items() if code is not None}
        body: dict[str, Any] = {"ready": not missing, "waiting_for": list(missing)}
        body |= ({"reasons": reasons} if reasons else {}) | ({"notes": notes} if notes else {})
        return (503 if missing else 200), body

    def metrics(self) -> Iterator[Metric]:
        """One gauge for each part."""
        missing = self.missing()
        parts = {name: float(name in missing) for name in self._checks}
        yield gauge("cloister_waiting_for", "1 for a part that is not there, else 0 (/readyz).", "part", parts)
        told = "How much does not work and is not waited for (notes of /readyz)."
        yield plain_gauge("cloister_noted", told, len(self._notes()))


def _is_missing(check: Check) -> tuple[bool, str | None]:
    try:
        return not check(), None
    except Refusal as refusal:
        return True, refusal.code
    except Exception:
        return True, None


def metrics_page(
    readiness: Readiness, carried: Carried, sources: Mapping[str, Source], token: str | None
) -> MetricsPage:
    """What every service tells, and its own `sources`."""

    def bytes_carried() -> Iterator[Metric]:
        family = CounterMetricFamily("cloister_carried_bytes", "Bytes of content carried (/carried).", labels=("by",))
        for name, total in report_carried(carried).items():
            family.add_metric((name,), total)
        yield family

    return MetricsPage({"readiness": readiness.metrics, "carried": bytes_carried, **sources}, token=token)


class HealthServer:
    """The four paths for a process that has no web application; serves on a thread until `stop`.

    `sources`: what it tells at `/metrics` beside what every process does; `token`: who else may read that.
    """

    def __init__(
        self,
        port: int,
        readiness: Readiness,
        *,
        host: str = LOOPBACK,
        carried: Carried = NOTHING,
        sources: Mapping[str, Source] = NO_SOURCES,
        token: str | None = None,
    ) -> None:
        class Handler(_HealthHandler):
            checks = readiness
            counts = carried
            page = metrics_page(readiness, carried, sources, token)

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
    page: MetricsPage
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
        elif self.path == "/metrics" and self.page.is_for(self.client_address[0], self.headers.get("authorization")):
            self._send(200, self.page.encode(), MEDIA_TYPE)
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

    def _send(self, status: int, raw: bytes, media_type: str = JSON) -> None:
        with contextlib.suppress(ConnectionError):  # whoever asked has not waited for the answer
            self.send_response(status)
            self.send_header("content-type", media_type)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: a poll every second is not an event."""
