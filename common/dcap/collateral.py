"""Rules about collateral that the engine leaves open: versions, kinds and dates (side: verifier).

The documents read here are the very bytes whose signatures the engine checks afterwards. What is *not* checked in this
module: that no older collateral is accepted than was seen before; that takes a memory, which a pure core has not.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.x509 import load_der_x509_crl

from common.dcap.certificates import UNREADABLE
from common.dcap.roots import Tee
from common.errors import FormatError, FreshnessError
from common.messages.evidence import Collateral

_TCB_INFO: Final[dict[Tee, tuple[str, int]]] = {"sgx": ("SGX", 3), "tdx": ("TDX", 3)}
_QE_IDENTITY: Final[dict[Tee, tuple[str, int]]] = {"sgx": ("QE", 2), "tdx": ("TD_QE", 2)}
"""Kind and version of each document (Intel PCS API v4, 'Get TCB Info' and 'Get Quoting Enclave Identity')."""


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """What of the TCB info is compared with the PCK certificate."""

    fmspc: bytes
    pce_id: bytes


def parse_collateral_json(text: str | bytes) -> Collateral:
    """Collateral as PCS clients store it: CRLs and signatures in hexadecimal. Raises `FormatError`."""
    try:
        fields: dict[str, Any] = json.loads(text)
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
    tcb_info = _document(collateral.tcb_info, _TCB_INFO[tee], at)
    _document(collateral.qe_identity, _QE_IDENTITY[tee], at)
    for name in ("root_ca_crl", "pck_crl"):
        _require_crl_dates(getattr(collateral, name), name, at)
    try:
        return TcbInfo(bytes.fromhex(tcb_info["fmspc"]), bytes.fromhex(tcb_info["pceId"]))
    except (KeyError, ValueError, TypeError) as cause:
        raise FormatError("format.collateral", expected="TCB info with fmspc and pceId") from cause


def _document(text: str, kind: tuple[str, int], at: int) -> dict[str, Any]:
    try:
        fields: dict[str, Any] = json.loads(text)
        seen = (fields["id"], fields["version"])
        issued, until = (datetime.fromisoformat(fields[name]).timestamp() for name in ("issueDate", "nextUpdate"))
    except (ValueError, KeyError, TypeError) as cause:
        raise FormatError("format.collateral", expected=f"{kind[0]} document of version {kind[1]}") from cause
    if seen != kind:  # (a)
        raise FormatError("format.collateral", expected=kind, seen=seen)
    _require_within(issued, until, at, kind[0])  # (b)
    return fields


def _require_crl_dates(der: bytes, name: str, at: int) -> None:
    try:
        crl = load_der_x509_crl(der)
        until = crl.next_update_utc
    except UNREADABLE as cause:
        raise FormatError("format.collateral", expected=f"{name}: a DER CRL") from cause
    if until is None:
        raise FormatError("format.collateral", expected=f"{name}: a CRL with a next update")
    _require_within(crl.last_update_utc.timestamp(), until.timestamp(), at, name)  # (c)


def _require_within(issued: float, until: float, at: int, name: str) -> None:
    if not issued <= at <= until:
        raise FreshnessError("freshness.collateral", expected=f"{name} valid at {at}", seen=f"{issued} to {until}")
