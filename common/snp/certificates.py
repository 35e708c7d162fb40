"""The chain behind a report's key: VCEK or VLEK, issued by ASK or ASVK, issued by ARK (side: verifier).

Source: AMD "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", 57230 (names,
algorithms, extensions), and RFC 5280. Certificates are X.509 in DER, so each has one encoding.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    CertificateRevocationList,
    KeyUsage,
    NameOID,
    SignatureAlgorithmOID,
    load_der_x509_certificate,
)

from common.certificate_links import UNREADABLE, is_link, root_key_sha256
from common.errors import AuthenticityError, FreshnessError
from common.messages.snp_evidence import SevSnpEvidence
from common.messages.snp_reference_values import SnpProduct
from common.snp.report_format import Signer
from common.snp.roots import SnpRoot

PRODUCTS: Final = MappingProxyType({f"ARK-{product}": product for product in SnpProduct})
"""By the root's common name."""

_CA_OF: Final[dict[Signer, str]] = {"VCEK": "SEV", "VLEK": "SEV-VLEK"}
_RSA_BITS: Final = 4096
_KNOWN_CHAINS: Final = 256
"""How many good chains are remembered: they repeat from report to report."""

# By AMD 57230 every VCEK has the serial number 0, which RFC 5280 forbids; cryptography 50 says so at each.
warnings.filterwarnings("ignore", "Parsed a serial number which wasn't positive", CryptographyDeprecationWarning)


@dataclass(frozen=True, slots=True)
class SnpChain:
    """Everyone in a chain, in his role. `root_pin` is what the ARK is pinned by."""

    leaf: Certificate
    intermediate: Certificate
    root: Certificate
    root_pin: SnpRoot


def require_chain(evidence: SevSnpEvidence, signer: Signer, at: int) -> SnpChain:
    """Check the three certificates by five rules.

    (a) each can be read, and was issued by the next one, the last by itself, by RSASSA-PSS with SHA-384;
    (b) they are ARK, ASK (or ASVK) and VCEK (or VLEK) of one product line, the leaf as the report says;
    (c) ARK and ASK are CAs that sign certificates, nobody's but leaves' below the ASK; the leaf is none;
    (d) ARK and ASK have RSA keys of 4,096 bits, the leaf one on P-384;
    (e) all are valid at `at`.

    Raises `AuthenticityError` (authenticity.snp_report) or `FreshnessError` (freshness.snp_endorsements).
    """
    chain = _checked(evidence.signer, evidence.intermediate, evidence.root, signer)
    for one in (chain.leaf, chain.intermediate, chain.root):
        if not one.not_valid_before_utc.timestamp() <= at <= one.not_valid_after_utc.timestamp():  # (e)
            raise FreshnessError(
                "freshness.snp_endorsements", expected=f"certificates valid at {at}", seen=common_name(one)
            )
    return chain


def is_pss(signed: Certificate | CertificateRevocationList) -> bool:
    """Whether it is signed by RSASSA-PSS with SHA-384, as all that AMD signs."""
    algorithm = signed.signature_algorithm_oid
    return algorithm == SignatureAlgorithmOID.RSASSA_PSS and isinstance(signed.signature_hash_algorithm, SHA384)


def common_name(certificate: Certificate) -> str:
    """The only one, or nothing."""
    names = [entry.value for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(names[0]) if len(names) == 1 else ""


@lru_cache(maxsize=_KNOWN_CHAINS)
def _checked(leaf_der: bytes, intermediate_der: bytes, root_der: bytes, signer: Signer) -> SnpChain:
    """Rules (a) to (d)."""
    encoded = (leaf_der, intermediate_der, root_der)
    try:
        leaf, intermediate, root = chain = tuple(map(load_der_x509_certificate, encoded))
        if not all(map(is_pss, chain)) or not all(map(is_link, encoded, (*encoded[1:], root_der))):  # (a)
            raise _refusal("certificates that each the next one issued, by RSASSA-PSS with SHA-384", "others")
        product, seen = PRODUCTS.get(common_name(root)), [common_name(one) for one in chain]
        if product is None or seen[:2] != [f"SEV-{signer}", f"{_CA_OF[signer]}-{product}"]:  # (b)
            raise _refusal(f"a {signer} and its two authorities of one product line", seen)
        if not _is_ca(root, None) or not _is_ca(intermediate, 0) or not _is_no_ca(leaf):  # (c)
            raise _refusal("two authorities, and one who is none", "other constraints or key usages")
        if not _is_rsa(root) or not _is_rsa(intermediate) or not _is_p384(leaf):  # (d)
            raise _refusal(f"keys RSA {_RSA_BITS}, RSA {_RSA_BITS}, P-384", "others")
        return SnpChain(leaf, intermediate, root, SnpRoot(product, root_key_sha256(root)))
    except UNREADABLE as cause:
        raise _refusal("three X.509 certificates in DER", type(cause).__name__) from cause


def _is_ca(certificate: Certificate, path_length: int | None) -> bool:
    constraints, usage = _roles(certificate)
    is_ca = constraints is not None and constraints.ca and constraints.path_length == path_length
    return is_ca and usage is not None and usage.key_cert_sign


def _is_no_ca(certificate: Certificate) -> bool:
    constraints, usage = _roles(certificate)
    return not (constraints is not None and constraints.ca) and not (usage is not None and usage.key_cert_sign)


def _roles(certificate: Certificate) -> tuple[BasicConstraints | None, KeyUsage | None]:
    said = [one.value for one in certificate.extensions]
    constraints = next((one for one in said if isinstance(one, BasicConstraints)), None)
    return constraints, next((one for one in said if isinstance(one, KeyUsage)), None)


def _is_rsa(certificate: Certificate) -> bool:
    key = certificate.public_key()
    return isinstance(key, RSAPublicKey) and key.key_size == _RSA_BITS


def _is_p384(certificate: Certificate) -> bool:
    key = certificate.public_key()
    return isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP384R1)


def _refusal(expected: str, seen: object) -> AuthenticityError:
    return AuthenticityError("authenticity.snp_report", expected=expected, seen=seen)
