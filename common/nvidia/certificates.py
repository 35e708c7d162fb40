"""Certificate chains in which everyone is in its role (side: verifier).

NVIDIA has two hierarchies, each with a root of its own, so nobody of one can act in the other:

  device           boot ROM's firmware key <- boot ROM <- provisioner <- chip family <- NVIDIA Device Identity CA
  reference value  signer <- level 3 <- chip family <- NVIDIA CoRIM signing Root CA

Roles are told by position: the first certificate signs and certifies nobody, all others certify, and the last one
itself. The first must not, for the key of any device's firmware could then vouch for devices and values of its own
making.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtensionNotFound,
    KeyUsage,
    NameOID,
    load_der_x509_certificate,
)

from common.certificate_links import UNREADABLE, is_link, root_key_sha256
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError
from common.identifiers import Digest

DEVICE_CERTIFICATES: Final = 5
RIM_CERTIFICATES: Final = 4
"""How long the chains are, from leaf to root."""

_KNOWN_CHAINS: Final = 256
"""How many chains are remembered: they repeat from report to report."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain from its leaf to its root, and whose evidence it is: codes end in `subject` (gpu_report, rim)."""

    encoded: tuple[bytes, ...]
    certificates: tuple[Certificate, ...]
    subject: str

    @property
    def leaf(self) -> Certificate:
        """Whose key signs."""
        return self.certificates[0]


def require_chain(encoded: tuple[bytes, ...], length: int, subject: str, root_key: Digest, at: int) -> Chain:
    """Check a chain by four rules.

    (a) it has this many certificates, which can be read, all of P-384 keys; the first may sign and not certify, all
        others may certify, so many levels below them as there are;
    (b) each was issued by the next, the last by itself;
    (c) the last one's key is the pinned one;
    (d) all are valid at `at` (Unix seconds).

    All but the time is checked once for chains that repeat. Raises `FormatError` (a), `AuthenticityError` (b),
    `AppraisalError` (c) or `FreshnessError` (d); all of `subject` but (c), appraisal.gpu_root.
    """
    chain = _checked(encoded, length, subject)  # (a), (b)
    seen = root_key_sha256(chain.certificates[-1])
    if seen != root_key:  # (c)
        raise AppraisalError("appraisal.gpu_root", expected=root_key, seen=seen)
    for one in chain.certificates:
        if not one.not_valid_before_utc.timestamp() <= at <= one.not_valid_after_utc.timestamp():  # (d)
            seen_dates = f"{common_name(one)}: {one.not_valid_before_utc} to {one.not_valid_after_utc}"
            raise FreshnessError(f"freshness.{subject}", expected=f"valid at {at}", seen=seen_dates)
    return chain


def common_name(certificate: Certificate) -> str:
    """Its subject's common name, or nothing."""
    names = [entry.value for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(names[0]) if names else ""


@lru_cache(maxsize=_KNOWN_CHAINS)
def _checked(encoded: tuple[bytes, ...], length: int, subject: str) -> Chain:
    chain = Chain(encoded, tuple(_read(one, subject) for one in encoded), subject)
    if len(encoded) != length:  # (a)
        raise FormatError(f"format.{subject}", expected=f"{length} certificates", seen=len(encoded))
    for levels, one in enumerate(chain.certificates, -1):
        key = one.public_key()
        on_curve = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)
        if not (on_curve and (_may_certify(one, levels) if levels >= 0 else _may_sign(one))):  # (a)
            raise FormatError(f"format.{subject}", expected="everyone in its role", seen=common_name(one))
    for child, issuer in zip(encoded, (*encoded[1:], encoded[-1]), strict=True):
        if not is_link(child, issuer):  # (b)
            raise AuthenticityError(f"authenticity.{subject}", expected="certificates that each the next one issued")
    return chain


def _read(encoded: bytes, subject: str) -> Certificate:
    try:
        certificate = load_der_x509_certificate(encoded)
        certificate.public_key(), certificate.extensions, certificate.subject  # read late, hence now
    except UNREADABLE as cause:
        raise FormatError(f"format.{subject}", expected="certificates that can be read") from cause
    return certificate


def _may_sign(certificate: Certificate) -> bool:
    usage, constraints = _usage(certificate), _constraints(certificate)
    may = usage is not None and usage.digital_signature and not usage.key_cert_sign
    return may and not (constraints and constraints.ca)


def _may_certify(certificate: Certificate, levels: int) -> bool:
    """Whether it may certify, with this many certifying levels below it."""
    usage, constraints = _usage(certificate), _constraints(certificate)
    if usage is None or not usage.key_cert_sign or constraints is None or not constraints.ca:
        return False
    return constraints.path_length is None or constraints.path_length >= levels


def _usage(certificate: Certificate) -> KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(KeyUsage).value
    except ExtensionNotFound:
        return None


def _constraints(certificate: Certificate) -> BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value
    except ExtensionNotFound:
        return None
