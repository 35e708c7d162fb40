"""Checking evidence of GPUs by hand, as NVIDIA's tools store it (side: verifier)."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates
from pydantic import ValidationError

from client.events import Event, Verified
from common.certificate_links import UNREADABLE
from common.errors import FormatError
from common.json_text import read_json
from common.messages.gpu_evidence import DeviceReport, GpuEndorsements, GpuEvidence
from common.messages.gpu_terms import GpuTerms
from common.nvidia import NVIDIA_ROOTS, GpuClaims, SwitchClaims, appraise_host, verify_host
from common.nvidia.report_format import parse_report

_FIELDS: Final = {"arch", "nonce", "evidence", "certificate"}


@dataclass(frozen=True)
class GpuFiles:
    """What evidence is held against: reference values (XML) and OCSP answers (DER)."""

    rims: tuple[Path, ...] = ()
    ocsp: tuple[Path, ...] = ()

    def read(self) -> GpuEndorsements:
        """All of them. Raises `FormatError` (format.message) for what is too large or too much."""
        try:
            return GpuEndorsements(
                rims=tuple(one.read_bytes() for one in self.rims),
                ocsp_answers=tuple(one.read_bytes() for one in self.ocsp),
            )
        except ValidationError:
            raise FormatError("format.message", expected="files of NVIDIA's services, and not too many") from None


def verify_gpus(
    sources: tuple[Path, ...], files: GpuFiles, terms: GpuTerms, nonce: bytes | None = None, at: int | None = None
) -> Iterator[Event]:
    """Verify stored evidence of all GPUs of a host, and the switches between them, under NVIDIA's roots.

    `nonce`: with which they were asked; without one it is not checked who asked when, only that all were asked alike.
    `at`: one time for all checks, in Unix seconds (default: now). Raises what verification raises.
    """
    at = int(time.time()) if at is None else at
    evidence = read_gpu_evidence(sources)
    asked = parse_report(evidence.devices[0].report).nonce if nonce is None else nonce
    host = verify_host(evidence, asked, NVIDIA_ROOTS, at)
    devices: tuple[GpuClaims | SwitchClaims, ...] = (*host.gpus, *host.switches)
    yield from map(_told, devices)
    appraise_host(host, files.read(), NVIDIA_ROOTS, terms, at)
    named = ", ".join(terms.dangerously_allow) or "nothing"
    yield Verified(
        subject=f"{len(host.gpus)} GPUs, {len(host.switches)} switches",
        checks=(
            f"each device once, all GPUs of one kind, at {at}",
            f"nonce {asked.hex()}: {'ours' if nonce else 'as in the evidence (who asked, its reader has to check)'}",
            f"driver, VBIOS, reference values and revocation meet the terms; left open by name: {named}",
        ),
    )


def read_gpu_evidence(sources: tuple[Path, ...]) -> GpuEvidence:
    """All devices of these files: lists of `arch`, `nonce`, `evidence` and `certificate` in base64.

    So NVIDIA's attestation SDK writes them (gpu/evidence.cpp, `to_json`). Architecture and nonce are not taken from
    there: nobody has signed them. Raises `FormatError` (format.gpu_report).
    """
    try:
        return GpuEvidence(
            devices=tuple(device for one in sources for device in map(_device, read_json(one.read_bytes())))
        )
    except (ValidationError, TypeError, ValueError, *UNREADABLE):
        expected = "lists of devices as NVIDIA's tools write them"
        raise FormatError("format.gpu_report", expected=expected, seen=[one.name for one in sources]) from None


def _device(fields: Any) -> DeviceReport:
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise ValueError("other fields")
    report, pem = (base64.b64decode(fields[name], validate=True) for name in ("evidence", "certificate"))
    return DeviceReport(
        report=report, chain=tuple(one.public_bytes(Encoding.DER) for one in load_pem_x509_certificates(pem))
    )


def _told(claims: GpuClaims | SwitchClaims) -> Verified:
    fields = claims.fields
    mode = ""
    if isinstance(claims, GpuClaims):
        mode = f"driver {claims.fields.driver_version}, mode {claims.fields.mode or 'not told'}, "
    return Verified(
        subject=f"{claims.architecture} {claims.chip}, device {claims.device}",
        checks=(
            "signed by the key in its certificates, which end in NVIDIA's root",
            f"{mode}VBIOS {fields.vbios_version}",
            f"firmware {claims.firmware}" + ("" if fields.fwid else " (named by its certificate alone)"),
        ),
    )
