"""Collateral from Intel's PCS or a PCCS (side: host; nothing that comes back is believed here).

Intel's "API for Provisioning Certification Service" v4; a PCCS answers on the same paths:

    GET /sgx/certification/v4/pckcrl?ca=CA&encoding=der   PCK CRL        SGX-PCK-CRL-Issuer-Chain
    GET /TEE/certification/v4/tcb?fmspc=FMSPC             TCB info       TCB-Info-Issuer-Chain
    GET /TEE/certification/v4/qe/identity                 QE identity    SGX-Enclave-Identity-Issuer-Chain
    GET /sgx/certification/v4/rootcacrl                   root CRL       only a PCCS; Intel has it at another address

Chains are PEM, URL-encoded in the header that the last column names. A PCCS may send CRLs in hexadecimal. The signed
documents are cut out of their answers byte for byte: their signatures are over exactly that text.
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from common.errors import UnavailableError
from common.json_text import read_json
from common.messages.collateral import CollateralName
from common.messages.evidence import Collateral
from common.untrusted.http_session import HttpFailure, HttpSession

MAX_BODY_BYTES: Final = 300 << 10
"""A CRL of the largest size in hexadecimal, and some. Authentic answers have a few KiB."""

FETCH_SECONDS: Final = 20.0
"""For all four answers together, however slowly they drip."""

_DER_SEQUENCE: Final = b"\x30"
_SILENCE_SECONDS: Final = 5.0
_OK: Final = 200


class PcsClient:
    """One PCS or PCCS at `url`. `root_crl_url`: where the root CRL is, if not at the PCCS's path.

    `ca_file`: certificates (PEM) to believe about its TLS instead of the public ones; a PCCS signs its own when it is
    installed. Raises `OSError` (or `ssl.SSLError`, which is one) for a file that holds none.
    """

    def __init__(
        self, url: str, root_crl_url: str | None = None, *, ca_file: Path | None = None, seconds: float = FETCH_SECONDS
    ) -> None:
        self.url, self._seconds = url.rstrip("/"), seconds
        self._root_crl_url = root_crl_url or f"{self.url}/sgx/certification/v4/rootcacrl"
        self._http = HttpSession(connect_seconds=_SILENCE_SECONDS, silence_seconds=_SILENCE_SECONDS, ca_file=ca_file)

    def fetch(self, name: CollateralName) -> Collateral:
        """All nine pieces. Raises `UnavailableError` (unavailable.collateral) for anything else than that."""
        until = time.monotonic() + self._seconds
        api = f"{self.url}/{name.tee}/certification/v4"
        try:
            crl, crl_headers = self._get(f"{self.url}/sgx/certification/v4/pckcrl?ca={name.ca}&encoding=der", until)
            tcb, tcb_headers = self._get(f"{api}/tcb?fmspc={quote(name.fmspc.upper())}", until)
            identity, identity_headers = self._get(f"{api}/qe/identity", until)
            root_crl, _ = self._get(self._root_crl_url, until)
            tcb_info, tcb_signature = signed_document(tcb, "tcbInfo")
            qe_identity, qe_signature = signed_document(identity, "enclaveIdentity")
            return Collateral(
                pck_crl_issuer_chain=_chain(crl_headers, "SGX-PCK-CRL-Issuer-Chain"),
                root_ca_crl=_der(root_crl),
                pck_crl=_der(crl),
                tcb_info_issuer_chain=_chain(tcb_headers, "TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
                tcb_info=tcb_info,
                tcb_info_signature=tcb_signature,
                qe_identity_issuer_chain=_chain(identity_headers, "SGX-Enclave-Identity-Issuer-Chain"),
                qe_identity=qe_identity,
                qe_identity_signature=qe_signature,
            )
        except (HttpFailure, ValueError, KeyError, TypeError) as cause:
            seen = type(cause).__name__
            raise UnavailableError("unavailable.collateral", expected=f"collateral {name}", seen=seen) from cause

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def _get(self, url: str, until: float) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers of a success, bounded in bytes and time."""
        answer = self._http.request("GET", url, max_bytes=MAX_BODY_BYTES, until=until)
        if answer.status != _OK:
            raise ValueError(f"status {answer.status}")
        return answer.body, answer.headers


def signed_document(body: bytes, member: str) -> tuple[str, bytes]:
    """Exact text of `member`, and the signature beside it. Raises `ValueError`, `KeyError` or `TypeError`."""
    text = body.decode()
    parsed = read_json(text)
    key = f'"{member}"'
    at = text.index(":", text.index(key) + len(key)) + 1
    at += len(text[at:]) - len(text[at:].lstrip())
    document, end = json.JSONDecoder().raw_decode(text, at)
    if document != parsed[member] or not isinstance(document, dict):
        raise ValueError(f"no single {member}")
    return text[at:end], bytes.fromhex(parsed["signature"])


def _chain(headers: Mapping[str, str], *names: str) -> str:
    for name in names:
        if name in headers:
            return unquote(headers[name])
    raise KeyError(names[0])


def _der(body: bytes) -> bytes:
    return body if body.startswith(_DER_SEQUENCE) else bytes.fromhex(body.decode("ascii").strip())
