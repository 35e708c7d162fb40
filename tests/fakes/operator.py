"""An operator's attestation service around a broker, over HTTP, with collateral of its choice."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from client.context import Endpoints
from common.enclave.simulated_pki import SimulatedPki
from common.messages.evidence import Collateral
from tests.fakes.broker_world import BrokerWorld


@dataclass
class Operator:
    """The attestation service's HTTP rim around a broker, with collateral of its choice."""

    world: BrokerWorld
    collateral: Collateral
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(attestation=self.url, ingest=self.url, query=self.url)


@contextmanager
def operating(operator: Operator) -> Iterator[Operator]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["content-length"]))
            self._send(operator.world.core.handle(raw, operator.world.time))

        def do_GET(self) -> None:
            operator.asked.append(self.path)
            self._send(operator.collateral.encode())

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    operator.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield operator
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def issued(pki: SimulatedPki, days_ago: float = 0.0) -> Collateral:
    return pki.collateral(datetime.now(UTC) - timedelta(days=days_ago))
