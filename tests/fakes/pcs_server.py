"""A PCS on a test root, over loopback HTTP, that can lie (side: library).

It answers on Intel's paths with real documents, really signed: those of a simulated PKI by default, issued whenever it
is asked, or any other collateral. A `lie` changes what it says, as a hostile or broken server could.
"""

import gzip
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlsplit

from common.dcap.collateral_name import name_of_collateral
from common.enclave.simulated_pki import SimulatedPki, encode_document, sign_raw
from common.messages.evidence import Collateral

_COMPRESSED: Final = gzip.compress(bytes(8 << 20))

Lie = Callable[["PcsDouble", "Answer"], None]


@dataclass
class Answer:
    """One HTTP answer before it is sent."""

    path: str
    status: int
    headers: dict[str, str]
    body: bytes
    pause_seconds: float = 0.0
    """Between the bytes of the body."""


@dataclass
class PcsDouble:
    """What the server says; tests change it while it serves."""

    collateral: Callable[[], Collateral]
    lie: Lie | None = None
    hexadecimal: bool = False
    asked: list[str] = field(default_factory=list)
    url: str = ""

    @classmethod
    def of(cls, pki: SimulatedPki, now: Callable[[], float] = time.time) -> "PcsDouble":
        """A server that issues anew at each question, by a clock."""
        return cls(lambda: pki.collateral(datetime.fromtimestamp(now(), UTC)))

    def answer(self, target: str) -> Answer:
        """What is said to `GET target`."""
        self.asked.append(target)
        answer = self._truth(target)
        if self.lie is not None:
            self.lie(self, answer)
        return answer

    def _truth(self, target: str) -> Answer:
        parts, pieces = urlsplit(target), self.collateral()
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        name = name_of_collateral(pieces)
        prefix = f"/{name.tee}/certification/v4"
        if parts.path == "/sgx/certification/v4/pckcrl" and query.get("ca") == name.ca:
            headers = {"SGX-PCK-CRL-Issuer-Chain": quote(pieces.pck_crl_issuer_chain)}
            return Answer(target, 200, headers, self._crl(pieces.pck_crl))
        if parts.path == "/sgx/certification/v4/rootcacrl":
            return Answer(target, 200, {}, self._crl(pieces.root_ca_crl))
        if parts.path == f"{prefix}/tcb" and query.get("fmspc", "").lower() == name.fmspc:
            headers = {"TCB-Info-Issuer-Chain": quote(pieces.tcb_info_issuer_chain)}
            body = _signed("tcbInfo", pieces.tcb_info, pieces.tcb_info_signature)
            return Answer(target, 200, headers, body)
        if parts.path == f"{prefix}/qe/identity":
            headers = {"SGX-Enclave-Identity-Issuer-Chain": quote(pieces.qe_identity_issuer_chain)}
            body = _signed("enclaveIdentity", pieces.qe_identity, pieces.qe_identity_signature)
            return Answer(target, 200, headers, body)
        return Answer(target, 404, {}, b"")

    def _crl(self, der: bytes) -> bytes:
        return der.hex().encode() if self.hexadecimal else der


def _signed(member: str, text: str, signature: bytes) -> bytes:
    return f'{{"{member}":{text},"signature":"{signature.hex()}"}}'.encode()


@contextmanager
def serving(double: PcsDouble, tls: ssl.SSLContext | None = None) -> Iterator[PcsDouble]:
    """Serve it on a free loopback port; `url` says where."""
    left = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            answer = double.answer(self.path)
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            try:
                self._send(answer)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def _send(self, answer: Answer) -> None:
            if not answer.pause_seconds:
                self.wfile.write(answer.body)
                return
            for byte in answer.body:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                if left.wait(answer.pause_seconds):
                    return

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="pcs")
    thread.start()
    double.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    try:
        yield double
    finally:
        left.set()
        server.shutdown()
        server.server_close()
        thread.join()


# -- lies ---------------------------------------------------------------------------------------------------------


def errors(_: PcsDouble, answer: Answer) -> None:
    """Status 500, always."""
    answer.status, answer.body = 500, b"it hurts"


def oversized(_: PcsDouble, answer: Answer) -> None:
    """A body of 8 MiB."""
    answer.body = bytes(8 << 20)


def compressed(_: PcsDouble, answer: Answer) -> None:
    """8 MiB in a few KiB, whether or not somebody asked for compression."""
    answer.headers["content-encoding"] = "gzip"
    answer.body = _COMPRESSED


def truncated(_: PcsDouble, answer: Answer) -> None:
    """Half of every body."""
    answer.body = answer.body[: len(answer.body) // 2]


def slow(_: PcsDouble, answer: Answer) -> None:
    """A byte now and then, each in time for a timeout of silence."""
    answer.pause_seconds = 0.05


def without_chain(_: PcsDouble, answer: Answer) -> None:
    """No header at all."""
    answer.headers.clear()


def other_fmspc(pki: SimulatedPki) -> Lie:
    """Authentic TCB info, of another kind of CPU."""

    def lie(_: PcsDouble, answer: Answer) -> None:
        if "/tcb" in answer.path:
            fields = json.loads(answer.body)["tcbInfo"] | {"fmspc": "00906ED50000"}
            text = encode_document(fields)
            answer.body = _signed("tcbInfo", text, sign_raw(pki.tcb_signing.key, text.encode()))

    return lie


def future_number(stranger: SimulatedPki) -> Lie:
    """TCB info of an evaluation that nobody can surpass, signed by a stranger."""

    def lie(_: PcsDouble, answer: Answer) -> None:
        if "/tcb" in answer.path:
            text = encode_document(json.loads(answer.body)["tcbInfo"] | {"tcbEvaluationDataNumber": 1 << 40})
            answer.body = _signed("tcbInfo", text, sign_raw(stranger.tcb_signing.key, text.encode()))

    return lie


def older(pki: SimulatedPki, by: timedelta) -> Callable[[], Collateral]:
    """Collateral as it was: authentic, and current still if `by` is short."""
    return lambda: pki.collateral(datetime.now(UTC) - by)


LIES: Final[dict[str, Lie]] = {
    "errors": errors,
    "oversized": oversized,
    "compressed": compressed,
    "truncated": truncated,
    "without chain": without_chain,
}
"""Those that need no PKI and no time."""
