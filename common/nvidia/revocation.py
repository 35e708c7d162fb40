"""Has NVIDIA revoked a certificate? Answers of its OCSP responder, kept and brought by whoever likes (side: verifier).

No network is asked here: answers are signed and dated, so they may come from a cache or from the host itself, as long
as they are not older than the verifier says (RFC 6960). For each certificate that an issuer above it can revoke, in
this order:

  (1) every answer is a successful one about one certificate, signed in whole octets (format.ocsp);
  (2) of those about this certificate each is signed by its issuer, or by whom its issuer certified for that alone
      (section 4.2.2.2) and who is valid now (authenticity.ocsp);
  (3) the newest of them says that it is good (appraisal.gpu_revoked);
  (4) it is there, from no later than now, not beyond its next update, and not older than the bound (freshness.ocsp).

An answer that a certificate is revoked counts however old it is, until a newer one takes it back (a hold that ended).
What is *not* checked: whether the issuer has revoked the responder itself, and nonces, for a kept answer has none of
ours.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import Certificate, ExtendedKeyUsage, ExtensionNotFound
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponse, OCSPResponseStatus, load_der_ocsp_response
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.certificate_links import UNREADABLE, is_link
from common.errors import AppraisalError, AuthenticityError, FormatError, FreshnessError
from common.nvidia.certificates import Chain, common_name

_HASHES: Final = (SHA256, SHA384, SHA512)
"""What an answer may be signed with. Its names of certificates are SHA-1 as a rule, which is enough for a name."""

_READ_LATE: Final = (
    "serial_number", "hash_algorithm", "issuer_name_hash", "issuer_key_hash", "certificate_status", "revocation_reason",
    "this_update_utc", "next_update_utc", "certificates", "signature_hash_algorithm", "signature", "tbs_response_bytes",
)  # fmt: skip
"""What `cryptography` reads when it is asked for, hence while an answer is parsed."""

_KNOWN_ANSWERS: Final = 1024
"""How many parsed answers are remembered."""


def read_answers(encoded: Iterable[bytes]) -> tuple[OCSPResponse, ...]:
    """Parse answers (1). Raises `FormatError` (format.ocsp)."""
    return tuple(map(_read, encoded))


def require_unrevoked(
    chain: Chain, answers: Sequence[OCSPResponse], max_age_seconds: int, at: int, *, may_be_unknown: bool = False
) -> None:
    """Hold a chain against answers at time `at` (Unix seconds). Where it `may_be_unknown`, (4) is left out.

    Its root is pinned and has no issuer above. A device's first certificate is made by the device itself at each start,
    so NVIDIA's responder knows none (SDK, nv_x509.cpp: `start_indx`).
    Raises `AuthenticityError` (2), `AppraisalError` (3) or `FreshnessError` (4).
    """
    first = 1 if chain.subject == "gpu_report" else 0
    for place in range(first, len(chain.certificates) - 1):
        subject, issuer = chain.certificates[place : place + 2]
        about = [one for one in answers if _is_about(one, subject, issuer)]
        for one in about:
            _require_authentic(one, chain.encoded[place + 1], issuer, at)  # (2)
        newest = max(about, key=lambda one: one.this_update_utc, default=None)
        if newest is not None and newest.certificate_status is not OCSPCertStatus.GOOD:  # (3)
            seen = f"{common_name(subject)}: {newest.certificate_status.name.lower()} {newest.revocation_reason or ''}"
            raise AppraisalError("appraisal.gpu_revoked", expected="a certificate that is good", seen=seen)
        if may_be_unknown:
            continue
        if newest is None or not _is_fresh(newest, max_age_seconds, at):  # (4)
            expected = f"an answer about {common_name(subject)} of the last {max_age_seconds} s before {at}"
            raise FreshnessError("freshness.ocsp", expected=expected, seen=newest and newest.this_update_utc)


@lru_cache(maxsize=_KNOWN_ANSWERS)
def _read(encoded: bytes) -> OCSPResponse:
    try:
        answer = load_der_ocsp_response(encoded)
        if answer.response_status is not OCSPResponseStatus.SUCCESSFUL:  # (1)
            raise FormatError("format.ocsp", expected="a successful answer", seen=answer.response_status.name)
        for name in _READ_LATE:
            getattr(answer, name)
        if b"\0" + answer.signature not in encoded:  # (1)
            raise FormatError("format.ocsp", expected="a signature of whole octets")
    except UNREADABLE as cause:
        raise FormatError("format.ocsp", expected="an OCSP answer about one certificate", seen=cause) from cause
    return answer


def _is_about(answer: OCSPResponse, subject: Certificate, issuer: Certificate) -> bool:
    """RFC 6960, section 4.1.1: serial number, and digests of the issuer's name and of its key's bits."""
    if answer.serial_number != subject.serial_number:
        return False
    key = issuer.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    wanted = []
    for part in (issuer.subject.public_bytes(), key):
        digest = Hash(answer.hash_algorithm)
        digest.update(part)
        wanted.append(digest.finalize())
    return wanted == [answer.issuer_name_hash, answer.issuer_key_hash]


def _require_authentic(answer: OCSPResponse, issuer_der: bytes, issuer: Certificate, at: int) -> None:
    signers = [issuer, *(one for one in answer.certificates if _is_responder(one, issuer_der, at))]
    if not any(_has_signed(one, answer) for one in signers):
        raise AuthenticityError("authenticity.ocsp", expected=f"signed for {common_name(issuer)}")


def _is_responder(certificate: Certificate, issuer_der: bytes, at: int) -> bool:
    """Whether the issuer certified it to answer for it, and it is valid."""
    try:
        usage = certificate.extensions.get_extension_for_class(ExtendedKeyUsage).value
    except (ExtensionNotFound, *UNREADABLE):
        return False
    valid = certificate.not_valid_before_utc.timestamp() <= at <= certificate.not_valid_after_utc.timestamp()
    return valid and ExtendedKeyUsageOID.OCSP_SIGNING in usage and is_link(_der(certificate), issuer_der)


def _has_signed(signer: Certificate, answer: OCSPResponse) -> bool:
    key, algorithm = signer.public_key(), answer.signature_hash_algorithm
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(algorithm, _HASHES):
        return False
    try:
        key.verify(answer.signature, answer.tbs_response_bytes, ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _is_fresh(answer: OCSPResponse, max_age_seconds: int, at: int) -> bool:
    now, issued, until = datetime.fromtimestamp(at, UTC), answer.this_update_utc, answer.next_update_utc
    in_time = issued <= now and (until is None or now <= until)
    return in_time and (now - issued).total_seconds() <= max_age_seconds


def _der(certificate: Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)
