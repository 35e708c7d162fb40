"""SEV-SNP evidence out of files as tools and AMD's key service write them, PEM or DER (side: verifier)."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import (
    Certificate,
    load_der_x509_certificate,
    load_der_x509_crl,
    load_pem_x509_certificates,
    load_pem_x509_crl,
)
from pydantic import ValidationError

from common.certificate_links import UNREADABLE, root_key_sha256
from common.errors import FormatError
from common.messages.snp_evidence import SNP_REPORT_BYTES, SevSnpEvidence
from common.snp import SnpRoot
from common.snp.certificates import PRODUCTS, common_name

_LEAVES: Final = ("SEV-VCEK", "SEV-VLEK")


def read_evidence(source: Path, certificates: Iterable[Path], crl: Path | None) -> SevSnpEvidence:
    """An evidence document; or a bare report, with the certificates in `certificates` and the list in `crl`.

    Raises `FormatError` (format.snp_report, format.snp_endorsements).
    """
    raw, files = source.read_bytes(), tuple(certificates)
    if raw[:1] == b"{":
        if files or crl is not None:
            expected = "no certificates and no list beside an evidence document, which has its own"
            raise FormatError("format.snp_endorsements", expected=expected)
        return _document(raw, source)
    if len(raw) != SNP_REPORT_BYTES:
        expected = f"an evidence document, or a report of {SNP_REPORT_BYTES} bytes"
        raise FormatError("format.snp_report", expected=expected, seen=f"{len(raw)} bytes")
    named = {name: one for file in files for name, one in read_certificates(file).items()}
    leaves, roots = named.keys() & set(_LEAVES), named.keys() & PRODUCTS.keys()
    others = named.keys() - leaves - roots
    if crl is None or any(len(names) != 1 for names in (leaves, others, roots)):
        expected, seen = "VCEK or VLEK, ASK, ARK, and a revocation list", sorted(named)
        raise FormatError("format.snp_endorsements", expected=expected, seen=seen)
    leaf, intermediate, root = (named[names.pop()].public_bytes(Encoding.DER) for names in (leaves, others, roots))
    return SevSnpEvidence(report=raw, signer=leaf, intermediate=intermediate, root=root, crl=_read_list(crl))


def read_certificates(file: Path) -> dict[str, Certificate]:
    """Those of a PEM file, or the one of a DER file, by common name. Raises `FormatError` (format.snp_endorsements)."""
    raw = file.read_bytes()
    try:
        read = load_pem_x509_certificates(raw) if b"-----BEGIN" in raw else [load_der_x509_certificate(raw)]
        for certificate in read:
            certificate.public_key()  # read late by `cryptography`, as names are, hence now
        return {common_name(one): one for one in read}
    except UNREADABLE as cause:
        raise FormatError("format.snp_endorsements", expected="certificates, PEM or DER", seen=file.name) from cause


def read_root(file: Path) -> SnpRoot:
    """What the certificate of a root is pinned by. Raises `FormatError` (format.snp_endorsements)."""
    named = read_certificates(file)
    if len(named) != 1 or not named.keys() <= PRODUCTS.keys():
        expected = f"one certificate, of {', '.join(PRODUCTS)}"
        raise FormatError("format.snp_endorsements", expected=expected, seen=sorted(named))
    [(name, root)] = named.items()
    return SnpRoot(PRODUCTS[name], root_key_sha256(root))


def _document(raw: bytes, source: Path) -> SevSnpEvidence:
    try:
        return SevSnpEvidence.model_validate_json(raw)
    except ValidationError:
        raise FormatError("format.snp_report", expected="an `snp-report` document", seen=source.name) from None


def _read_list(file: Path) -> bytes:
    raw = file.read_bytes()
    try:
        crl = load_pem_x509_crl(raw) if b"-----BEGIN" in raw else load_der_x509_crl(raw)
        return crl.public_bytes(Encoding.DER)
    except UNREADABLE as cause:
        raise FormatError("format.snp_endorsements", expected="a list, PEM or DER", seen=file.name) from cause
