"""Certificate chains in which everyone is in its role (side: verifier).

The names are from Intel's "SGX PCK Certificate and Certificate Revocation List Profile Specification" 1.5, section 1.3.
Roles are told by name, not by position, for two authentic quotes carry the root before the intermediate. A name proves
nothing by itself, so every link is verified here, before the engine sees a byte: dcap-qvl 0.7.0 *aborts the process*
when a chain's root has another subject than its child's issuer (an assertion in its webpki, crl/mod.rs:125).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import BasicConstraints, Certificate, ExtensionNotFound, NameOID, load_pem_x509_certificates

from common.certificate_links import UNREADABLE, is_link, root_key_sha256
from common.errors import AuthenticityError, FormatError, FreshnessError
from common.identifiers import Digest
from common.messages.evidence import Collateral

ROOT_CA: Final = "Intel SGX Root CA"
PCK_CA_NAMES: Final = MappingProxyType(
    {"platform": "Intel SGX PCK Platform CA", "processor": "Intel SGX PCK Processor CA"}
)
"""By the words of the PCS API."""

PCK_CAS: Final = frozenset(PCK_CA_NAMES.values())
PCK_LEAF: Final = "Intel SGX PCK Certificate"
TCB_SIGNING: Final = "Intel SGX TCB Signing"

_KNOWN_CHAINS: Final = 256
"""How many parsed chains are remembered, good or bad: they repeat from quote to quote."""


@dataclass(frozen=True, slots=True)
class Chains:
    """The chains of one piece of evidence: one root key under all of them, and when it is valid."""

    root_der: bytes
    root_key: Digest
    valid_from: float
    valid_until: float


@dataclass(frozen=True, slots=True)
class CollateralChains:
    """Everybody who vouches for a set of collateral."""

    chains: Chains
    root: Certificate
    pck_ca: Certificate
    tcb_info_signer: Certificate
    qe_identity_signer: Certificate


def require_chains(pck_pem: bytes, collateral: Collateral, at: int) -> Chains:
    """Check all four chains by five rules.

    (a) the quote's chain is exactly PCK leaf, Platform or Processor CA, root, each issued by the next;
    (b) the PCK CRL's chain is exactly such a CA, in the quote's case that of (a), and the root that issued it;
    (c) in the chains of TCB info and QE identity there is one certificate that is no CA, whose role is TCB signing;
    (d) the root issued that certificate directly: nobody else is in the chain;
    (e) the root issued itself, is the same key in all chains, and valid at `at`.

    All but the time is checked once for chains that repeat from quote to quote.
    Raises `AuthenticityError`, `FormatError` (format.collateral) or `FreshnessError` (freshness.collateral).
    """
    return _require_valid(_checked(pck_pem, *_chains_in(collateral)), at)


def require_collateral_chains(collateral: Collateral, at: int) -> CollateralChains:
    """Rules (b) to (e) for collateral alone: who issued its CRL, who signed its two documents. Raises likewise."""
    of_crl, of_tcb_info, of_qe_identity = _checked_collateral(*_chains_in(collateral))
    chains = _require_one_root([chain[ROOT_CA] for chain in (of_crl, of_tcb_info, of_qe_identity)])
    return CollateralChains(
        _require_valid(chains, at),
        of_crl[ROOT_CA],
        of_crl[next(iter(of_crl.keys() & PCK_CAS))],
        of_tcb_info[TCB_SIGNING],
        of_qe_identity[TCB_SIGNING],
    )


def _chains_in(collateral: Collateral) -> tuple[str, str, str]:
    return collateral.pck_crl_issuer_chain, collateral.tcb_info_issuer_chain, collateral.qe_identity_issuer_chain


def _require_valid(chains: Chains, at: int) -> Chains:
    if not chains.valid_from <= at <= chains.valid_until:
        raise FreshnessError("freshness.collateral", expected=f"a root that is valid at {at}")  # (e)
    return chains


@lru_cache(maxsize=_KNOWN_CHAINS)
def _checked(pck_pem: bytes, *collateral_chains: str) -> Chains:
    """Rules (a) to (e), but for the time."""
    in_quote = certificates_by_name(pck_pem)
    pck_ca = in_quote.keys() & PCK_CAS
    if in_quote.keys() != {PCK_LEAF, ROOT_CA} | pck_ca or len(pck_ca) != 1:  # (a)
        raise AuthenticityError("authenticity.quote", expected="PCK leaf, PCK CA, root", seen=sorted(in_quote))
    require_links([in_quote[PCK_LEAF], in_quote[next(iter(pck_ca))], in_quote[ROOT_CA]])  # (a), (e)
    in_collateral = _checked_collateral(*collateral_chains)
    if not _share_a_pck_ca(in_quote, in_collateral[0]):  # (b)
        raise FormatError("format.collateral", expected="PCK CRL chain: the CA that issued the PCK certificate")
    return _require_one_root([chain[ROOT_CA] for chain in (in_quote, *in_collateral)])  # (e)


def _checked_collateral(crl_chain: str, *signer_chains: str) -> tuple[Mapping[str, Certificate], ...]:
    """Rules (b) to (d); the chains of PCK CRL, TCB info and QE identity by common name."""
    of_crl, *signers = (certificates_by_name(pem.encode()) for pem in (crl_chain, *signer_chains))
    crl_ca = of_crl.keys() & PCK_CAS
    if of_crl.keys() != {ROOT_CA} | crl_ca or len(crl_ca) != 1:  # (b)
        raise FormatError("format.collateral", expected="PCK CRL chain: PCK CA, root", seen=sorted(of_crl))
    require_links([of_crl[next(iter(crl_ca))], of_crl[ROOT_CA]])  # (b), (e)
    for chain in signers:
        leaves = [name for name, certificate in chain.items() if not _is_ca(certificate)]
        if leaves != [TCB_SIGNING]:  # (c)
            raise FormatError("format.collateral", expected="signed by TCB signing", seen=sorted(chain))
        if chain.keys() - leaves != {ROOT_CA}:  # (d)
            raise FormatError("format.collateral", expected="TCB signing, issued by the root", seen=sorted(chain))
        for leaf in leaves:
            require_links([chain[leaf], chain[ROOT_CA]])  # (d), (e)
    return of_crl, *signers


def _share_a_pck_ca(one: Mapping[str, Certificate], other: Mapping[str, Certificate]) -> bool:
    """The same name with the same key: of one CA there may be several certificates, as of the root."""
    return any(one[name].public_key() == other[name].public_key() for name in PCK_CAS & one.keys() & other.keys())


def _require_one_root(roots: list[Certificate]) -> Chains:
    keys = {root_key_sha256(root) for root in roots}
    if len(keys) != 1:  # (e)
        raise FormatError("format.collateral", expected="one root in all chains", seen=sorted(keys))
    return Chains(
        roots[0].public_bytes(Encoding.DER),
        root_key_sha256(roots[0]),
        max(root.not_valid_before_utc.timestamp() for root in roots),
        min(root.not_valid_after_utc.timestamp() for root in roots),
    )


def require_links(chain: list[Certificate]) -> None:
    """Each certificate was issued by the next one, the last by itself."""
    encoded = [certificate.public_bytes(Encoding.DER) for certificate in chain]
    for child, issuer in zip(encoded, [*encoded[1:], encoded[-1]], strict=True):
        if not is_link(child, issuer):
            raise AuthenticityError("authenticity.quote", expected="certificates that each the next one issued")


def _is_ca(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False
    except UNREADABLE as cause:
        raise FormatError("format.collateral", expected="certificates that can be read") from cause


@lru_cache(maxsize=_KNOWN_CHAINS)
def certificates_by_name(pem: bytes) -> Mapping[str, Certificate]:
    """The chain's certificates by common name; nothing when one cannot be read or two share a name."""
    try:
        chain = load_pem_x509_certificates(pem)
        named = {_common_name(certificate): certificate for certificate in chain}
        for certificate in chain:
            certificate.public_key()  # read late by `cryptography`, hence now
    except UNREADABLE:
        return {}
    return MappingProxyType(named) if len(named) == len(chain) else {}


def _common_name(certificate: Certificate) -> str:
    names = [entry.value for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return str(names[0]) if names else ""
