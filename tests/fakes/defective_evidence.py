"""Evidence with one chosen defect each, made by a simulated platform on a test root (side: library).

Everything else about each piece is right and rightly signed, so only the rule that is named can refuse it. `REFUSED_BY`
names the rule's step in `common.dcap.verification` (its rules in `certificates`, `collateral` and `engine` by letters),
and the code. `defects` makes all of them for one kind of quote.
"""

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import CertificateBuilder, load_der_x509_certificate

from common.dcap.certificates import PCK_CA_NAMES, PCK_LEAF, TCB_SIGNING
from common.enclave.simulated_pki import PLATFORM_CA, Certified, SimulatedPki, issue_certificate, issue_crl
from common.enclave.simulated_quote import encode_qe_report
from common.enclave.simulated_sgx_extension import encode_sgx_extension
from common.messages.tcb_terms import Exposure
from tests.fakes.engine_defects import ENGINE_REFUSES, ENGINE_REFUSES_DOMAINS, with_pck
from tests.fakes.evidence_forge import Defect, Forge, FullEvidence

_DAY: Final = timedelta(days=1)


# -- (1), (2): the quote by itself -----------------------------------------------------------------------------------


def _trailing_byte(forge: Forge) -> FullEvidence:
    good = forge.evidence()
    return good.model_copy(update={"quote": good.quote + b"\0"})


def _of_another_type(forge: Forge) -> FullEvidence:
    """Nobody signs the type of the outer certification data, and the engine does not read it."""
    return forge.flipped(forge.signature_at + 64 + 64)


def _td15_cut_short(forge: Forge) -> FullEvidence:
    """The body says 584 bytes of type 3."""
    good = forge.evidence()
    quote = good.quote[:50] + struct.pack("<I", 584) + good.quote[54:]
    return good.model_copy(update={"quote": quote})


def _exposing(exposure: Exposure) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.exposing(exposure).evidence()


def _service_td(forge: Forge) -> FullEvidence:
    return forge.exposing(service_domain=b"\1" + bytes(47)).evidence()


# -- (3), (4): who signed --------------------------------------------------------------------------------------------


def _tcb_signed_by_pck(forge: Forge) -> FullEvidence:
    """A leaf of another role under the same root signs the collateral: the engine asks for a leaf, not for its role."""
    return forge.with_tcb_signer(issue_certificate(PCK_LEAF, forge.at, forge.platform.pki.root))


def _tcb_signer_below_pck_ca(forge: Forge) -> FullEvidence:
    """The PCK CA issues somebody a certificate named TCB signing."""
    pki = forge.platform.pki
    signer = issue_certificate(TCB_SIGNING, forge.at, pki.pck_ca)
    return _with_signer_chains(forge.with_tcb_signer(signer), (signer.pem + pki.pck_ca.pem + pki.root.pem).decode())


def _signed_beside_the_signer(forge: Forge) -> FullEvidence:
    """The same, with the genuine TCB signing certificate in the chain, too: it signed nothing."""
    pki = forge.platform.pki
    signer = issue_certificate(PCK_LEAF, forge.at, pki.root)
    evidence = forge.with_tcb_signer(signer)
    chain = (signer.pem + pki.tcb_signing.pem + pki.root.pem).decode()
    return _with_signer_chains(evidence, chain)


def _with_signer_chains(evidence: FullEvidence, chain: str) -> FullEvidence:
    chains = {"tcb_info_issuer_chain": chain, "qe_identity_issuer_chain": chain}
    return evidence.model_copy(update={"collateral": evidence.collateral.model_copy(update=chains)})


def _crl_chain_with_a_guest(forge: Forge) -> FullEvidence:
    pki = forge.platform.pki
    guest = issue_certificate(TCB_SIGNING, forge.at, pki.root)
    return forge.evidence(collateral={"pck_crl_issuer_chain": (pki.pck_ca.pem + guest.pem + pki.root.pem).decode()})


def _crl_chain_of_another_ca(forge: Forge) -> FullEvidence:
    """The right CRL beside the chain of somebody who did not issue it."""
    pki = forge.platform.pki
    other = issue_certificate(PCK_CA_NAMES["processor"], forge.at, pki.root, path_length=0)
    return forge.evidence(collateral={"pck_crl_issuer_chain": (other.pem + pki.root.pem).decode()})


def _crl_chain_of_another_key(forge: Forge) -> FullEvidence:
    """The same with a CA of the right name."""
    pki = forge.platform.pki
    other = issue_certificate(PLATFORM_CA, forge.at, pki.root, path_length=0)
    return forge.evidence(collateral={"pck_crl_issuer_chain": (other.pem + pki.root.pem).decode()})


def _root_of_another_time(forge: Forge, days: int) -> FullEvidence:
    """The pinned root key in a certificate that is valid for a day, so many days from now."""
    old = forge.platform.pki.root
    begun = forge.at + days * _DAY
    builder = CertificateBuilder(
        old.certificate.issuer, old.certificate.subject, old.key.public_key(), old.certificate.serial_number,
        begun, begun + _DAY, list(old.certificate.extensions),
    )  # fmt: skip
    return forge.evidence(pki=replace(forge.platform.pki, root=Certified(old.key, builder.sign(old.key, SHA256()))))


def _root_expired(forge: Forge) -> FullEvidence:
    return _root_of_another_time(forge, -2)


def _root_from_the_future(forge: Forge) -> FullEvidence:
    return _root_of_another_time(forge, 1)


def _of_another_installation(forge: Forge) -> FullEvidence:
    """Everything is right, under a root that nobody allowed."""
    return replace(forge, platform=replace(forge.platform, pki=SimulatedPki.generate(forge.at))).evidence()


def _chain_with_a_guest(forge: Forge) -> FullEvidence:
    """The quote's chain carries a fourth certificate."""
    pki = forge.platform.pki
    return forge.evidence(chain=pki.pck_chain + issue_certificate(TCB_SIGNING, forge.at, pki.root).pem)


def _pck_ca_without_signature_of_root(forge: Forge) -> FullEvidence:
    """Everything below a PCK CA that some other root issued, the pinned root put on top."""
    stranger = SimulatedPki.generate(forge.at)
    ca = issue_certificate(PLATFORM_CA, forge.at, stranger.root, path_length=0)
    extension = encode_sgx_extension(ppid=bytes(16), instance_id=bytes(16))
    pck = issue_certificate(PCK_LEAF, forge.at, ca, sgx_extension=extension)
    good = forge.platform.pki
    return forge.evidence(pki=replace(good, pck_ca=ca, pck=pck), collateral=dict(forge.collateral(good)))


def _foreign_root_under_collateral(forge: Forge) -> FullEvidence:
    """Collateral of another installation, consistent in itself."""
    return forge.evidence(collateral=dict(forge.collateral(SimulatedPki.generate(forge.at))))


def _root_of_another_subject(forge: Forge) -> FullEvidence:
    """The pinned root key in a certificate that names somebody else: dcap-qvl 0.7.0 aborts the process over it."""
    pki = forge.platform.pki
    renamed = pki.root.certificate.public_bytes(Encoding.DER).replace(b"Santa Clara", b"Santa Clare")
    root = load_der_x509_certificate(renamed).public_bytes(Encoding.PEM)
    return forge.evidence(chain=pki.pck.pem + pki.pck_ca.pem + root)


# -- (5): kinds and dates --------------------------------------------------------------------------------------------


def _other_tee(forge: Forge, sgx: str, tdx: str) -> str:
    return sgx if forge.is_tdx else tdx


def _tcb_info(**changes: Any) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(collateral=forge.tcb_info(**changes))


def _qe_identity(**changes: Any) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(collateral=forge.qe_identity(**changes))


def _tcb_info_of_other_tee(forge: Forge) -> FullEvidence:
    return forge.evidence(collateral=forge.tcb_info(id=_other_tee(forge, "SGX", "TDX")))


def _qe_identity_of_other_tee(forge: Forge) -> FullEvidence:
    return forge.evidence(collateral=forge.qe_identity(id=_other_tee(forge, "QE", "TD_QE")))


def _tcb_info_issued(days: int) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(collateral=forge.tcb_info(forge.at + days * _DAY))


def _qe_identity_issued(days: int) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(collateral=forge.qe_identity(forge.at + days * _DAY))


def _tcb_info_in_a_moment(forge: Forge) -> FullEvidence:
    """The engine compares whole seconds (dcap-qvl 0.7), so it takes this for now."""
    return forge.evidence(collateral=forge.tcb_info(issueDate=_in_a_moment(forge)))


def _qe_identity_in_a_moment(forge: Forge) -> FullEvidence:
    return forge.evidence(collateral=forge.qe_identity(issueDate=_in_a_moment(forge)))


def _in_a_moment(forge: Forge) -> str:
    return f"{forge.at:%Y-%m-%dT%H:%M:%S}.999999Z"


def _pck_crl(days: int) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(
        collateral={"pck_crl": issue_crl(forge.platform.pki.pck_ca, forge.at + days * _DAY)}
    )


def _root_crl(days: int) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(
        collateral={"root_ca_crl": issue_crl(forge.platform.pki.root, forge.at + days * _DAY)}
    )


# -- (7), (8): what the engine does not ask --------------------------------------------------------------------------


def _other_pce_in_pck(forge: Forge) -> FullEvidence:
    return with_pck(forge, pce_id=b"\1\0")


def _qe_report_tail(forge: Forge) -> FullEvidence:
    return forge.evidence(qe_report=encode_qe_report(forge.attestation_public, tail=bytes(31) + b"\1"))


_ALL: Final[dict[str, Defect]] = {
    "(1) trailing byte": ("format.quote", _trailing_byte),
    "(2) debug": ("appraisal.debug", _exposing(Exposure.DEBUG)),
    "(3a) chain with a guest": ("authenticity.quote", _chain_with_a_guest),
    "(3a) PCK CA of another root": ("authenticity.quote", _pck_ca_without_signature_of_root),
    "(3b) CRL chain with a guest": ("format.collateral", _crl_chain_with_a_guest),
    "(3b) CRL chain of another CA": ("format.collateral", _crl_chain_of_another_ca),
    "(3b) CRL chain of another key": ("format.collateral", _crl_chain_of_another_key),
    "(3c) collateral signed by another role": ("format.collateral", _tcb_signed_by_pck),
    "(3c) collateral signed beside the signer": ("format.collateral", _signed_beside_the_signer),
    "(3d) TCB signer below the PCK CA": ("format.collateral", _tcb_signer_below_pck_ca),
    "(3e) collateral under another root": ("format.collateral", _foreign_root_under_collateral),
    "(3e) root of another subject": ("authenticity.quote", _root_of_another_subject),
    "(3e) root expired": ("freshness.collateral", _root_expired),
    "(3e) root from the future": ("freshness.collateral", _root_from_the_future),
    "(4) root of another installation": ("appraisal.root", _of_another_installation),
    "(5a) TCB info v2": ("format.collateral", _tcb_info(version=2)),
    "(5a) TCB info of the other TEE": ("format.collateral", _tcb_info_of_other_tee),
    "(5a) QE identity of the other TEE": ("format.collateral", _qe_identity_of_other_tee),
    "(5a) QE identity v1": ("format.collateral", _qe_identity(version=1)),
    "(5a) QE identity v3": ("format.collateral", _qe_identity(version=3)),
    "(5b) TCB info expired": ("freshness.collateral", _tcb_info_issued(-31)),
    "(5b) TCB info from the future": ("freshness.collateral", _tcb_info_issued(1)),
    "(5b) TCB info issued later in this second": ("freshness.collateral", _tcb_info_in_a_moment),
    "(5b) QE identity expired": ("freshness.collateral", _qe_identity_issued(-31)),
    "(5b) QE identity from the future": ("freshness.collateral", _qe_identity_issued(1)),
    "(5b) QE identity issued later in this second": ("freshness.collateral", _qe_identity_in_a_moment),
    "(5c) PCK CRL from the future": ("freshness.collateral", _pck_crl(1)),
    "(5c) root CRL from the future": ("freshness.collateral", _root_crl(1)),
    "(5c) PCK CRL expired": ("freshness.collateral", _pck_crl(-31)),
    "(5c) root CRL expired": ("freshness.collateral", _root_crl(-31)),
    "(7) TCB info of another PCE": ("authenticity.quote", _tcb_info(pceId="0001")),
    "(7) PCK of another PCE": ("authenticity.quote", _other_pce_in_pck),
    "(8) QE report data with a tail": ("authenticity.quote", _qe_report_tail),
}
REFUSED_BY: Final = _ALL | ENGINE_REFUSES
"""What is wrong -> the code of the refusal, and how it is made, for quotes of every kind."""

_DOMAINS: Final[dict[str, Defect]] = {
    "(1) certification data of another type": ("format.quote", _of_another_type),
    "(2) SEPT_VE_DISABLE clear": ("appraisal.td_attributes", _exposing(Exposure.SEPT_VE)),
    "(2) profiled": ("appraisal.td_attributes", _exposing(Exposure.PROFILING)),
    "(2) migratable": ("appraisal.td_attributes", _exposing(Exposure.MIGRATION)),
}
_DOMAINS_OF_15: Final[dict[str, Defect]] = {
    "(1) TD 1.5 report cut short": ("format.quote", _td15_cut_short),
    "(2) service TD": ("appraisal.service_td", _service_td),
}
"""Likewise, for trust domains alone, and for those with a TD 1.5 report."""


def defects(forge: Forge) -> dict[str, tuple[str, FullEvidence]]:
    """Evidence of the forge's kind with one defect each -> the code that refuses it."""
    chosen = dict(REFUSED_BY)
    if forge.is_tdx:
        chosen |= _DOMAINS | ENGINE_REFUSES_DOMAINS
    if forge.extended:
        chosen |= _DOMAINS_OF_15
    return {name: (code, make(forge)) for name, (code, make) in chosen.items()}
