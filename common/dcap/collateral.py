"""Rules about collateral that the engine leaves open: versions, kinds and dates (side: verifier).

The documents read here are the very bytes whose signatures the engine checks afterwards. What is *not* checked in this
module: that no older collateral is accepted than was seen before; that takes a memory, which a pure core has not.
"""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from cryptography.x509 import load_der_x509_crl

from common.certificate_links import UNREADABLE
from common.dcap.roots import Tee
from common.errors import FormatError, FreshnessError
from common.json_text import read_json
from common.messages.evidence import Collateral

_TCB_INFO: Final[dict[Tee, tuple[str, int]]] = {"sgx": ("SGX", 3), "tdx": ("TDX", 3)}
_QE_IDENTITY: Final[dict[Tee, tuple[str, int]]] = {"sgx": ("QE", 2), "tdx": ("TD_QE", 2)}
"""Kind and version of each document (Intel PCS API v4, 'Get TCB Info' and 'Get Quoting Enclave Identity')."""


_KNOWN_PIECES: Final = 128
"""Parsed pieces that are remembered: they repeat from quote to quote."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From issue to next issue, in Unix seconds."""

    issued: float
    until: float

    def require(self, at: int, name: str) -> None:
        """Raise `FreshnessError` (freshness.collateral) unless it is valid at `at`: from the future is as wrong."""
        if not self.issued <= at <= self.until:
            seen = f"{self.issued} to {self.until}"
            raise FreshnessError("freshness.collateral", expected=f"{name} valid at {at}", seen=seen)


@dataclass(frozen=True, slots=True)
class Document:
    """TCB info or QE identity: (id, version), and when it is valid."""

    kind: tuple[str, int]
    validity: Validity


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """What of the TCB info is compared with the PCK certificate."""

    fmspc: bytes
    pce_id: bytes


def parse_collateral_json(text: str | bytes) -> Collateral:
    """Collateral as PCS clients store it: CRLs and signatures in hexadecimal. Raises `FormatError`."""
    try:
        fields: dict[str, Any] = read_json(text)
        for name in ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"):
            fields[name] = bytes.fromhex(fields[name])
        return Collateral.model_validate({name: fields[name] for name in Collateral.model_fields})
    except (ValueError, KeyError, TypeError) as cause:
        raise FormatError("format.collateral", expected="the nine pieces of collateral") from cause


def require_collateral(collateral: Collateral, tee: Tee, at: int) -> TcbInfo:
    """Check kinds, versions and dates.

    (a) TCB info is version 3 and of this TEE, QE identity version 2 and of this TEE's quoting enclave;
    (b) both were issued, and their next issue is not overdue, at `at`;
    (c) both CRLs likewise: one from the future is as wrong as an expired one.

    Raises `FormatError` (format.collateral) or `FreshnessError` (freshness.collateral).
    """
    for text, kind in ((collateral.tcb_info, _TCB_INFO[tee]), (collateral.qe_identity, _QE_IDENTITY[tee])):
        document = _read_document(text)
        if document.kind != kind:  # (a)
            raise FormatError("format.collateral", expected=kind, seen=document.kind)
        document.validity.require(at, kind[0])  # (b)
    for name in ("root_ca_crl", "pck_crl"):
        _read_crl(getattr(collateral, name)).require(at, name)  # (c)
    return _read_tcb_info(collateral.tcb_info)


@lru_cache(maxsize=_KNOWN_PIECES)
def _read_document(text: str) -> Document:
    try:
        fields: dict[str, Any] = read_json(text)
        kind = (fields["id"], fields["version"])
        issued, until = (datetime.fromisoformat(fields[name]).timestamp() for name in ("issueDate", "nextUpdate"))
    except (ValueError, KeyError, TypeError) as cause:
        raise FormatError("format.collateral", expected="TCB info and QE identity with dates and version") from cause
    return Document(kind, Validity(issued, until))


@lru_cache(maxsize=_KNOWN_PIECES)
def _read_tcb_info(text: str) -> TcbInfo:
    try:
        fields: dict[str, Any] = read_json(text)
        return TcbInfo(bytes.fromhex(fields["fmspc"]), bytes.fromhex(fields["pceId"]))
    except (KeyError, ValueError, TypeError) as cause:
        raise FormatError("format.collateral", expected="TCB info with fmspc and pceId") from cause


@lru_cache(maxsize=_KNOWN_PIECES)
def _read_crl(der: bytes) -> Validity:
    try:
        crl = load_der_x509_crl(der)
        until = crl.next_update_utc
    except UNREADABLE as cause:
        raise FormatError("format.collateral", expected="DER CRLs") from cause
    if until is None:
        raise FormatError("format.collateral", expected="CRLs with a next update")
    return Validity(crl.last_update_utc.timestamp(), until.timestamp())
