"""The reports of real machines in tests/vectors/snp, as evidence (side: library)."""

from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct

FOLDER: Final = Path(__file__).parents[1] / "vectors" / "snp"
AT: Final = 1_788_220_800
"""2026-09-01: all certificates and lists are valid."""


@cache
def real_evidence(product: SnpProduct) -> SevSnpEvidence:
    """Of the machine of this line."""
    return SevSnpEvidence(
        report=piece(product, "report.bin"),
        signer=certificate(product, "vcek"),
        intermediate=certificate(product, "ask"),
        root=certificate(product, "ark"),
        crl=piece(product, "crl.der"),
    )


def debug_evidence() -> SevSnpEvidence:
    """Of another Milan machine: version 2, a guest in debug."""
    pieces = {"report": piece(SnpProduct.MILAN, "v2_report.bin"), "signer": certificate(SnpProduct.MILAN, "v2_vcek")}
    return real_evidence(SnpProduct.MILAN).model_copy(update=pieces)


def piece(product: SnpProduct, name: str) -> bytes:
    """One file."""
    return (FOLDER / f"{product.lower()}_{name}").read_bytes()


def certificate(product: SnpProduct, name: str) -> bytes:
    """One certificate in DER."""
    return load_pem_x509_certificate(piece(product, f"{name}.pem")).public_bytes(Encoding.DER)
