"""Where the parts of a quote lie; nothing here is authentic yet (side: verifier).

Source: Intel SGX ECDSA QuoteLibReference DCAP API, appendix A.4 (v3), and Intel TDX DCAP Quoting Library API, appendix
A.3 (v4, v5). All integers are little-endian.

  v3   header 48 | SGX report 384                   | length 4 | signature data
  v4   header 48 | TD 1.0 report 584                | length 4 | signature data
  v5   header 48 | body type 2 | body size 4 | body | length 4 | signature data

SGX reports in quotes v4 and v5 are specified, but the engine (dcap-qvl 0.7) refuses them, and so does this.

  certified       QE report 384 | its signature 64 | length 2 | authentication data | type 2 = 5 | length 4 | PEM chain
  signature data  signature 64 | attestation key 64 | certified                              in v3
                  signature 64 | attestation key 64 | type 2 = 6 | length 4 | certified      in v4 and v5

Nothing may follow the signature data or any part of it, and types are what they should be (the engine does not read
the outer one of v4 and v5, and nobody signs it). Platforms hand out quotes in larger buffers of zeros: whoever makes
the evidence cuts them off, so that one quote has one encoding.
"""

from dataclasses import dataclass
from typing import Final

from common.dcap.roots import Tee
from common.errors import FormatError
from common.messages.evidence import SGX_FLAGS_DEBUG

HEADER_BYTES: Final = 48
SGX_REPORT_BYTES: Final = 384
TD10_REPORT_BYTES: Final = 584
_TEE_TYPE: Final[dict[int, Tee]] = {0x00: "sgx", 0x81: "tdx"}
_V5_BODIES: Final = {2: 584, 3: 648}
"""Body type -> size: TD 1.0 report, TD 1.5 report."""

_SGX_ATTRIBUTES_AT: Final = 48
_ISV_SVN_AT: Final = 258
_TD_ATTRIBUTES_AT: Final = 120
_P256_BYTES: Final = 64
"""A signature, or a public key."""

_PCK_CHAIN: Final = 5
_CERTIFIED_QE_REPORT: Final = 6
"""Types of certification data."""

_MR_SERVICE_TD_AT: Final = 600
_TD_ATTRIBUTES_DEBUG: Final = 0x01
"""Offsets in the bodies; TUD bit 0 of TDATTRIBUTES (Intel TDX module base spec, table 'ATTRIBUTES')."""


@dataclass(frozen=True, slots=True)
class UnverifiedQuote:
    """What a quote says of itself before anything is checked."""

    version: int
    tee: Tee
    body: bytes

    @property
    def is_debug(self) -> bool:
        """The debug attribute: whoever runs the host reads such an enclave's memory."""
        if self.tee == "sgx":
            return bool(self.body[_SGX_ATTRIBUTES_AT] & SGX_FLAGS_DEBUG)
        return bool(self.td_attributes & _TD_ATTRIBUTES_DEBUG)

    @property
    def isv_svn(self) -> int | None:
        """ISVSVN, the security version of an SGX enclave; a trust domain has none."""
        return _integer(self.body, _ISV_SVN_AT, 2) if self.tee == "sgx" else None

    @property
    def td_attributes(self) -> int:
        """TDATTRIBUTES of a trust domain."""
        return _integer(self.body, _TD_ATTRIBUTES_AT, 8)

    @property
    def service_td(self) -> bytes:
        """MRSERVICETD (48 bytes) of a TD 1.5 report: which service domains may migrate it; nothing in older reports."""
        return self.body[_MR_SERVICE_TD_AT:] if self.tee == "tdx" else b""


@dataclass(frozen=True, slots=True)
class QuoteParts:
    """Who signed what in a quote: signatures r || s and the attestation key x || y have 64 bytes, the QE report 384."""

    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    authentication_data: bytes


def split_quote(raw: bytes) -> QuoteParts:
    """The parts of a quote that `parse_quote` takes. Raises `FormatError` (format.quote)."""
    quote = parse_quote(raw)
    end = HEADER_BYTES + (6 if quote.version == 5 else 0) + len(quote.body)
    key_at = end + 4 + _P256_BYTES
    report_at = key_at + _P256_BYTES + (6 if quote.version > 3 else 0)
    signature_at = report_at + SGX_REPORT_BYTES
    data_at = signature_at + _P256_BYTES + 2
    return QuoteParts(
        signed=raw[:end],
        signature=raw[end + 4 : key_at],
        attestation_key=raw[key_at : key_at + _P256_BYTES],
        qe_report=raw[report_at:signature_at],
        qe_report_signature=raw[signature_at : data_at - 2],
        authentication_data=raw[data_at : data_at + _integer(raw, data_at - 2, 2)],
    )


def parse_quote(raw: bytes) -> UnverifiedQuote:
    """Split a quote. Raises `FormatError` (format.quote)."""
    version = _integer(raw, 0, 2)
    tee = _TEE_TYPE.get(_integer(raw, 4, 4))
    if (version, tee) not in ((3, "sgx"), (4, "tdx"), (5, "tdx")) or tee is None:
        raise FormatError("format.quote", expected="an SGX quote v3 or a TDX quote v4 or v5", seen=f"v{version} {tee}")
    body_at, body_bytes = HEADER_BYTES, SGX_REPORT_BYTES if tee == "sgx" else TD10_REPORT_BYTES
    if version == 5:
        kind, stated = _integer(raw, HEADER_BYTES, 2), _integer(raw, HEADER_BYTES + 2, 4)
        body_at, body_bytes = HEADER_BYTES + 6, stated
        if _V5_BODIES.get(kind) != stated:
            raise FormatError("format.quote", expected="a TD report of its size", seen=f"type {kind}, {stated} bytes")
    signature_at = body_at + body_bytes
    data_at = signature_at + 4
    _require_end(raw, data_at, _integer(raw, signature_at, 4))
    _require_signature_data(raw, data_at, version)
    return UnverifiedQuote(version, tee, raw[body_at:signature_at])


def _require_signature_data(raw: bytes, at: int, version: int) -> None:
    """Every length and type in it is what the layout says."""
    at += 2 * _P256_BYTES
    if version > 3:
        at = _require_typed(raw, at, _CERTIFIED_QE_REPORT)
    authentication_at = at + SGX_REPORT_BYTES + _P256_BYTES
    _require_typed(raw, authentication_at + 2 + _integer(raw, authentication_at, 2), _PCK_CHAIN)


def _require_typed(raw: bytes, at: int, kind: int) -> int:
    """Certification data of this type that ends with the quote; where its content begins."""
    seen, length = _integer(raw, at, 2), _integer(raw, at + 2, 4)
    if seen != kind:
        raise FormatError("format.quote", expected=f"certification data of type {kind}", seen=seen)
    _require_end(raw, at + 6, length)
    return at + 6


def _require_end(raw: bytes, at: int, length: int) -> None:
    if at + length != len(raw):
        raise FormatError("format.quote", expected=f"{at + length} bytes", seen=f"{len(raw)} bytes")


def _integer(raw: bytes, at: int, size: int) -> int:
    if at + size > len(raw):
        raise FormatError("format.quote", expected=f"at least {at + size} bytes", seen=len(raw))
    return int.from_bytes(raw[at : at + size], "little")
