"""The list by which an ARK takes certificates back (side: verifier; RFC 5280, section 5).

What is *not* checked: that no older list is accepted than was seen before; that takes a memory, which a pure core has
not. Lists name no single VCEK so far, for all have the serial number 0: a chip is denied by terms (`SnpTerms`).
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import CertificateRevocationList, load_der_x509_crl

from common.certificate_links import UNREADABLE, ends_with_octets
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.snp.certificates import SnpChain, common_name, is_pss


def require_unrevoked(der: bytes, chain: SnpChain, at: int) -> None:
    """Check a list (DER) and the chain against it by four rules.

    (a) it can be read, and is a whole one: it says when the next one is due, and nothing critical beside;
    (b) the chain's ARK issued it, and signed it by RSASSA-PSS with SHA-384, in whole octets;
    (c) it is neither expired nor from the future at `at`;
    (d) it names no certificate of the chain.

    Raises `FormatError` (format.snp_endorsements), `FreshnessError` (freshness.snp_endorsements) or
    `AuthenticityError` (authenticity.snp_report).
    """
    try:
        crl = load_der_x509_crl(der)
        revoked, until = {one.serial_number for one in crl}, crl.next_update_utc
        if until is None or any(one.critical for one in crl.extensions):  # (a)
            raise FormatError("format.snp_endorsements", expected="a whole list with a next update")
        if not _is_issued(crl, der, chain):  # (b)
            raise AuthenticityError("authenticity.snp_report", expected=f"a list of {common_name(chain.root)}")
    except UNREADABLE as cause:
        raise FormatError("format.snp_endorsements", expected="a revocation list in DER", seen=cause) from cause
    issued = crl.last_update_utc
    if not issued.timestamp() <= at <= until.timestamp():  # (c)
        expected, seen = f"a list that is current at {at}", f"{issued:%Y-%m-%d} to {until:%Y-%m-%d}"
        raise FreshnessError("freshness.snp_endorsements", expected=expected, seen=seen)
    for one in (chain.leaf, chain.intermediate, chain.root):
        if one.serial_number in revoked:  # (d)
            expected, seen = "certificates that are not revoked", common_name(one)
            raise AuthenticityError("authenticity.snp_report", expected=expected, seen=seen)


def _is_issued(crl: CertificateRevocationList, der: bytes, chain: SnpChain) -> bool:
    key = chain.root.public_key()
    if crl.issuer != chain.root.subject or not is_pss(crl) or not isinstance(key, RSAPublicKey):
        return False
    try:
        return crl.is_signature_valid(key) and ends_with_octets(der, crl.signature)
    except InvalidSignature:
        return False
