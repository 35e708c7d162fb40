"""Evidence with one chosen defect each, made by a simulated platform on a test root (side: library).

Everything else about each piece is right and rightly signed, so only the rule that is named can refuse it. `REFUSED_BY`
names the rule's step in `common.dcap.verification`, and the code.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import CertificateBuilder, load_der_x509_certificate

from common.dcap.certificates import PCK_LEAF, TCB_SIGNING
from common.enclave.simulated_pki import (
    PLATFORM_CA,
    Certified,
    SimulatedPki,
    encode_document,
    issue_certificate,
    issue_crl,
    qe_identity_fields,
    sign_raw,
    tcb_info_fields,
)
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.simulated_quote import encode_qe_report, encode_report, sign_quote
from common.enclave.simulated_sgx_extension import encode_sgx_extension
from common.identifiers import MrEnclave
from common.messages.evidence import SGX_FLAGS_DEBUG, SGX_FLAGS_INIT, SGX_FLAGS_MODE64BIT, Collateral, SgxDcapEvidence

MR_ENCLAVE: Final = MrEnclave(hashlib.sha256(b"an enclave under test").hexdigest())
REPORT_DATA: Final = hashlib.sha512(b"what it binds").digest()
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True)
class Forge:
    """A platform whose pieces can be remade."""

    platform: SimulatedPlatform
    at: datetime

    @classmethod
    def make(cls, directory: Path) -> "Forge":
        """A fresh platform, now."""
        return cls(SimulatedPlatform.open_or_create(directory), datetime.now(UTC))

    def evidence(
        self,
        *,
        pki: SimulatedPki | None = None,
        report: bytes | None = None,
        qe_report: bytes | None = None,
        collateral: dict[str, Any] | None = None,
    ) -> SgxDcapEvidence:
        """Good evidence, but for what is given."""
        pki = pki or self.platform.pki
        report = encode_report(MR_ENCLAVE.raw(), REPORT_DATA) if report is None else report
        quote = sign_quote(report, self.platform.attestation_key, pki.pck.key, pki.pck_chain, qe_report=qe_report)
        pieces = pki.collateral(self.at)
        return SgxDcapEvidence(quote=quote, collateral=Collateral(**(dict(pieces) | (collateral or {}))))

    def signed(self, name: str, fields: dict[str, object]) -> dict[str, Any]:
        """A document and its signature, as collateral fields."""
        text = encode_document(fields)
        key = self.platform.pki.tcb_signing.key
        return {name: text, f"{name}_signature": sign_raw(key, text.encode())}

    def with_tcb_signer(self, signer: Certified) -> SgxDcapEvidence:
        """All collateral signed by this certificate instead."""
        pki = replace(self.platform.pki, tcb_signing=signer)
        return self.evidence(pki=pki)


def _debug(forge: Forge) -> SgxDcapEvidence:
    flags = SGX_FLAGS_INIT | SGX_FLAGS_MODE64BIT | SGX_FLAGS_DEBUG
    return forge.evidence(report=encode_report(MR_ENCLAVE.raw(), REPORT_DATA, flags=flags))


def _tcb_signed_by_pck(forge: Forge) -> SgxDcapEvidence:
    """A leaf of another role under the same root signs the collateral: the engine asks for a leaf, not for its role."""
    return forge.with_tcb_signer(issue_certificate(PCK_LEAF, forge.at, forge.platform.pki.root))


def _tcb_signer_below_pck_ca(forge: Forge) -> SgxDcapEvidence:
    """The PCK CA issues somebody a certificate named TCB signing."""
    pki = forge.platform.pki
    signer = issue_certificate(TCB_SIGNING, forge.at, pki.pck_ca)
    return _with_signer_chains(forge.with_tcb_signer(signer), (signer.pem + pki.pck_ca.pem + pki.root.pem).decode())


def _signed_beside_the_signer(forge: Forge) -> SgxDcapEvidence:
    """The same, with the genuine TCB signing certificate in the chain, too: it signed nothing."""
    pki = forge.platform.pki
    signer = issue_certificate(PCK_LEAF, forge.at, pki.root)
    evidence = forge.with_tcb_signer(signer)
    chain = (signer.pem + pki.tcb_signing.pem + pki.root.pem).decode()
    return _with_signer_chains(evidence, chain)


def _with_signer_chains(evidence: SgxDcapEvidence, chain: str) -> SgxDcapEvidence:
    chains = {"tcb_info_issuer_chain": chain, "qe_identity_issuer_chain": chain}
    return evidence.model_copy(update={"collateral": evidence.collateral.model_copy(update=chains)})


def _crl_chain_with_a_guest(forge: Forge) -> SgxDcapEvidence:
    pki = forge.platform.pki
    guest = issue_certificate(TCB_SIGNING, forge.at, pki.root)
    return forge.evidence(collateral={"pck_crl_issuer_chain": (pki.pck_ca.pem + guest.pem + pki.root.pem).decode()})


def _root_of_another_time(forge: Forge, days: int) -> SgxDcapEvidence:
    """The pinned root key in a certificate that is valid for a day, so many days from now."""
    old = forge.platform.pki.root
    begun = forge.at + days * _DAY
    builder = CertificateBuilder(
        old.certificate.issuer, old.certificate.subject, old.key.public_key(), old.certificate.serial_number,
        begun, begun + _DAY, list(old.certificate.extensions),
    )  # fmt: skip
    return forge.evidence(pki=replace(forge.platform.pki, root=Certified(old.key, builder.sign(old.key, SHA256()))))


def _root_expired(forge: Forge) -> SgxDcapEvidence:
    return _root_of_another_time(forge, -2)


def _root_from_the_future(forge: Forge) -> SgxDcapEvidence:
    return _root_of_another_time(forge, 1)


def _of_another_installation(forge: Forge) -> SgxDcapEvidence:
    """Everything is right, under a root that nobody allowed."""
    return replace(forge, platform=replace(forge.platform, pki=SimulatedPki.generate(forge.at))).evidence()


def _chain_with_a_guest(forge: Forge) -> SgxDcapEvidence:
    """The quote's chain carries a fourth certificate."""
    pki = forge.platform.pki
    guest = issue_certificate(TCB_SIGNING, forge.at, pki.root)
    quote = sign_quote(
        encode_report(MR_ENCLAVE.raw(), REPORT_DATA),
        forge.platform.attestation_key,
        pki.pck.key,
        pki.pck_chain + guest.pem,
    )
    return SgxDcapEvidence(quote=quote, collateral=pki.collateral(forge.at))


def _other_pce(forge: Forge) -> SgxDcapEvidence:
    """TCB info for another PCE than the one that the PCK certificate names."""
    fields = tcb_info_fields(forge.at - _DAY) | {"pceId": "0001"}
    return forge.evidence(collateral=forge.signed("tcb_info", fields))


def _other_pce_in_pck(forge: Forge) -> SgxDcapEvidence:
    extension = encode_sgx_extension(ppid=bytes(16), instance_id=bytes(16), pce_id=b"\1\0")
    pck = issue_certificate(PCK_LEAF, forge.at, forge.platform.pki.pck_ca, sgx_extension=extension)
    return forge.evidence(pki=replace(forge.platform.pki, pck=pck))


def _qe_report_tail(forge: Forge) -> SgxDcapEvidence:
    public = forge.platform.attestation_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return forge.evidence(qe_report=encode_qe_report(public[1:], tail=bytes(31) + b"\1"))


def _crl_from_the_future(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral={"pck_crl": issue_crl(forge.platform.pki.pck_ca, forge.at + _DAY)})


def _root_crl_from_the_future(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral={"root_ca_crl": issue_crl(forge.platform.pki.root, forge.at + _DAY)})


def _crl_expired(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral={"pck_crl": issue_crl(forge.platform.pki.pck_ca, forge.at - 31 * _DAY)})


def _tcb_info_expired(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("tcb_info", tcb_info_fields(forge.at - 31 * _DAY)))


def _qe_identity_from_the_future(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("qe_identity", qe_identity_fields(forge.at + _DAY)))


def _tcb_info_from_the_future(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("tcb_info", tcb_info_fields(forge.at + _DAY)))


def _qe_identity_expired(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("qe_identity", qe_identity_fields(forge.at - 31 * _DAY)))


def _root_crl_expired(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral={"root_ca_crl": issue_crl(forge.platform.pki.root, forge.at - 31 * _DAY)})


def _tcb_info_v2(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("tcb_info", tcb_info_fields(forge.at - _DAY) | {"version": 2}))


def _tcb_info_of_tdx(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("tcb_info", tcb_info_fields(forge.at - _DAY) | {"id": "TDX"}))


def _qe_identity_of_tdx(forge: Forge) -> SgxDcapEvidence:
    return forge.evidence(collateral=forge.signed("qe_identity", qe_identity_fields(forge.at - _DAY) | {"id": "TD_QE"}))


def _pck_revoked(forge: Forge) -> SgxDcapEvidence:
    pki = forge.platform.pki
    return forge.evidence(
        collateral={"pck_crl": issue_crl(pki.pck_ca, forge.at - _DAY, (pki.pck.certificate.serial_number,))}
    )


def _pck_ca_revoked(forge: Forge) -> SgxDcapEvidence:
    pki = forge.platform.pki
    return forge.evidence(
        collateral={"root_ca_crl": issue_crl(pki.root, forge.at - _DAY, (pki.pck_ca.certificate.serial_number,))}
    )


def _foreign_root_under_collateral(forge: Forge) -> SgxDcapEvidence:
    """Collateral of another installation, consistent in itself."""
    other = SimulatedPki.generate(forge.at)
    return forge.evidence(collateral=dict(other.collateral(forge.at)))


def _pck_ca_without_signature_of_root(forge: Forge) -> SgxDcapEvidence:
    """Everything below a PCK CA that some other root issued, the pinned root put on top."""
    stranger = SimulatedPki.generate(forge.at)
    ca = issue_certificate(PLATFORM_CA, forge.at, stranger.root, path_length=0)
    extension = encode_sgx_extension(ppid=bytes(16), instance_id=bytes(16))
    pck = issue_certificate(PCK_LEAF, forge.at, ca, sgx_extension=extension)
    return forge.evidence(pki=replace(forge.platform.pki, pck_ca=ca, pck=pck))


def _root_of_another_subject(forge: Forge) -> SgxDcapEvidence:
    """The pinned root key in a certificate that names somebody else: dcap-qvl 0.7.0 aborts the process over it."""
    pki = forge.platform.pki
    renamed = pki.root.certificate.public_bytes(Encoding.DER).replace(b"Santa Clara", b"Santa Clare")
    chain = pki.pck.pem + pki.pck_ca.pem + load_der_x509_certificate(renamed).public_bytes(Encoding.PEM)
    report = encode_report(MR_ENCLAVE.raw(), REPORT_DATA)
    quote = sign_quote(report, forge.platform.attestation_key, pki.pck.key, chain)
    return SgxDcapEvidence(quote=quote, collateral=pki.collateral(forge.at))


def _trailing_byte(forge: Forge) -> SgxDcapEvidence:
    good = forge.evidence()
    return good.model_copy(update={"quote": good.quote + b"\0"})


REFUSED_BY: Final[dict[str, tuple[str, Callable[[Forge], SgxDcapEvidence]]]] = {
    "(1) trailing byte": ("format.quote", _trailing_byte),
    "(2) debug": ("appraisal.debug", _debug),
    "(3a) chain with a guest": ("authenticity.quote", _chain_with_a_guest),
    "(3b) CRL chain with a guest": ("format.collateral", _crl_chain_with_a_guest),
    "(3c) collateral signed by another role": ("format.collateral", _tcb_signed_by_pck),
    "(3c) collateral signed beside the signer": ("format.collateral", _signed_beside_the_signer),
    "(3d) TCB signer below the PCK CA": ("format.collateral", _tcb_signer_below_pck_ca),
    "(3e) collateral under another root": ("format.collateral", _foreign_root_under_collateral),
    "(3e) root of another subject": ("authenticity.quote", _root_of_another_subject),
    "(3e) root expired": ("freshness.collateral", _root_expired),
    "(3e) root from the future": ("freshness.collateral", _root_from_the_future),
    "(4) root of another installation": ("appraisal.root", _of_another_installation),
    "(5a) TCB info v2": ("format.collateral", _tcb_info_v2),
    "(5a) TCB info of TDX": ("format.collateral", _tcb_info_of_tdx),
    "(5a) QE identity of TDX": ("format.collateral", _qe_identity_of_tdx),
    "(5b) TCB info expired": ("freshness.collateral", _tcb_info_expired),
    "(5b) TCB info from the future": ("freshness.collateral", _tcb_info_from_the_future),
    "(5b) QE identity expired": ("freshness.collateral", _qe_identity_expired),
    "(5b) QE identity from the future": ("freshness.collateral", _qe_identity_from_the_future),
    "(5c) PCK CRL from the future": ("freshness.collateral", _crl_from_the_future),
    "(5c) root CRL from the future": ("freshness.collateral", _root_crl_from_the_future),
    "(5c) PCK CRL expired": ("freshness.collateral", _crl_expired),
    "(5c) root CRL expired": ("freshness.collateral", _root_crl_expired),
    "(6) PCK revoked": ("authenticity.quote", _pck_revoked),
    "(6) PCK CA revoked": ("authenticity.quote", _pck_ca_revoked),
    "(6) PCK CA of another root": ("authenticity.quote", _pck_ca_without_signature_of_root),
    "(7) TCB info of another PCE": ("authenticity.quote", _other_pce),
    "(7) PCK of another PCE": ("authenticity.quote", _other_pce_in_pck),
    "(8) QE report data with a tail": ("authenticity.quote", _qe_report_tail),
}
"""What is wrong -> the code of the refusal, and how it is made."""
