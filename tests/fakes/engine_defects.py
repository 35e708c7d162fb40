"""Defects that the engine alone refuses, step 6 of the verification (side: library): see `defective_evidence`."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from common.dcap.certificates import PCK_CA_NAMES, PCK_LEAF
from common.enclave.simulated_pki import (
    CERTIFICATE_LIFE,
    Certified,
    issue_certificate,
    issue_crl,
    sign_raw,
    tcb_info_fields,
)
from common.enclave.simulated_quote import encode_qe_report
from common.enclave.simulated_sgx_extension import encode_sgx_extension
from tests.fakes.evidence_forge import Defect, Forge, FullEvidence
from tests.fakes.tdx_quotes import TEE_SVN, tdx_tcb_info_fields

_DAY: Final = timedelta(days=1)


def _pck_expired(forge: Forge) -> FullEvidence:
    return with_pck(forge, days=-CERTIFICATE_LIFE.days - 1)


def with_pck(forge: Forge, *, days: int = 0, **extension: Any) -> FullEvidence:
    """Another PCK certificate, issued so many days from now, with these fields of its SGX extension."""
    encoded = encode_sgx_extension(ppid=bytes(16), instance_id=bytes(16), **extension)
    pki = forge.platform.pki
    pck = issue_certificate(PCK_LEAF, forge.at + days * _DAY, pki.pck_ca, sgx_extension=encoded)
    return forge.evidence(pki=replace(pki, pck=pck))


def _pck_revoked(forge: Forge) -> FullEvidence:
    pki = forge.platform.pki
    return forge.evidence(collateral={"pck_crl": _crl(forge, pki.pck_ca, pki.pck)})


def _pck_ca_revoked(forge: Forge) -> FullEvidence:
    pki = forge.platform.pki
    return forge.evidence(collateral={"root_ca_crl": _crl(forge, pki.root, pki.pck_ca)})


def _tcb_signer_revoked(forge: Forge) -> FullEvidence:
    pki = forge.platform.pki
    return forge.evidence(collateral={"root_ca_crl": _crl(forge, pki.root, pki.tcb_signing)})


def _pck_crl_of_another_key(forge: Forge) -> FullEvidence:
    return forge.evidence(collateral={"pck_crl": _crl(forge, _with_another_key(forge, forge.platform.pki.pck_ca))})


def _pck_crl_of_another_ca(forge: Forge) -> FullEvidence:
    """A CRL that the other PCK CA issued, as rightly: it names none of this one's certificates."""
    pki = forge.platform.pki
    other = issue_certificate(PCK_CA_NAMES["processor"], forge.at, pki.root, path_length=0)
    return forge.evidence(collateral={"pck_crl": _crl(forge, other)})


def _root_crl_of_another_key(forge: Forge) -> FullEvidence:
    return forge.evidence(collateral={"root_ca_crl": _crl(forge, _with_another_key(forge, forge.platform.pki.root))})


def _crl(forge: Forge, issuer: Certified, *revoked: Certified) -> bytes:
    return issue_crl(issuer, forge.at - _DAY, tuple(one.certificate.serial_number for one in revoked))


def _with_another_key(forge: Forge, certified: Certified) -> Certified:
    """This certificate in the hands of somebody without its key."""
    return replace(certified, key=issue_certificate("a stranger", forge.at).key)


def _signed_by_another(document: str) -> Callable[[Forge], FullEvidence]:
    """The document with the signature of somebody who is not the signer."""

    def make(forge: Forge) -> FullEvidence:
        text = getattr(forge.evidence().collateral, document)
        key = _with_another_key(forge, forge.platform.pki.tcb_signing).key
        return forge.evidence(collateral={document: text, f"{document}_signature": sign_raw(key, text.encode())})

    return make


def _qe_report_of_another_pck(forge: Forge) -> FullEvidence:
    pki = forge.platform.pki
    return forge.evidence(pki=replace(pki, pck=_with_another_key(forge, pki.pck)))


def _qe_report(position: int) -> Callable[[Forge], FullEvidence]:
    """A quoting enclave whose report, rightly signed, differs in a bit of this byte."""

    def make(forge: Forge) -> FullEvidence:
        report = bytearray(encode_qe_report(forge.attestation_public))
        report[position] ^= 2
        return forge.evidence(qe_report=bytes(report))

    return make


def _quote_of_another_key(forge: Forge) -> FullEvidence:
    return forge.flipped(forge.signature_at + 5)


def _tcb_info(**changes: Any) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(collateral=forge.tcb_info(**changes))


def _tcb_level(tcb: dict[str, int] | None = None, **changes: object) -> Callable[[Forge], FullEvidence]:
    """TCB info whose one level differs so."""

    def make(forge: Forge) -> FullEvidence:
        fields: Any = (tdx_tcb_info_fields if forge.is_tdx else tcb_info_fields)(forge.at)
        level = fields["tcbLevels"][0]
        changed = level | changes | {"tcb": level["tcb"] | (tcb or {})}
        return forge.evidence(collateral=forge.tcb_info(tcbLevels=[changed]))

    return make


def _module(**fields: bytes) -> Callable[[Forge], FullEvidence]:
    return lambda forge: forge.evidence(report=forge.td_report(**fields))


ENGINE_REFUSES: Final[dict[str, Defect]] = {
    "(6a) PCK expired": ("authenticity.quote", _pck_expired),
    "(6b) PCK revoked": ("authenticity.quote", _pck_revoked),
    "(6b) PCK CA revoked": ("authenticity.quote", _pck_ca_revoked),
    "(6b) TCB signer revoked": ("authenticity.quote", _tcb_signer_revoked),
    "(6b) PCK CRL of another key": ("authenticity.quote", _pck_crl_of_another_key),
    "(6b) PCK CRL of another CA": ("authenticity.quote", _pck_crl_of_another_ca),
    "(6b) root CRL of another key": ("authenticity.quote", _root_crl_of_another_key),
    "(6c) TCB info signed by another": ("authenticity.quote", _signed_by_another("tcb_info")),
    "(6c) QE identity signed by another": ("authenticity.quote", _signed_by_another("qe_identity")),
    "(6d) QE report of another PCK": ("authenticity.quote", _qe_report_of_another_pck),
    "(6e) QE report of another attestation key": ("authenticity.quote", _qe_report(320)),
    "(6f) QE of another signer": ("authenticity.quote", _qe_report(128)),
    "(6f) QE of another product": ("authenticity.quote", _qe_report(256)),
    "(6f) QE in debug": ("authenticity.quote", _qe_report(48)),
    "(6f) QE with another MISCSELECT": ("authenticity.quote", _qe_report(16)),
    "(6g) quote of another attestation key": ("authenticity.quote", _quote_of_another_key),
    "(6h) TCB info of another FMSPC": ("authenticity.quote", _tcb_info(fmspc="00906ED50000")),
    "(6h) TCB below every level": ("authenticity.quote", _tcb_level(tcb={"pcesvn": 65535})),
    "(6i) revoked TCB level": ("appraisal.tcb_status", _tcb_level(tcbStatus="Revoked")),
}
"""What is wrong -> the code of the refusal, and how it is made, for quotes of every kind."""

ENGINE_REFUSES_DOMAINS: Final[dict[str, Defect]] = {
    "(6h) module of another signer": ("authenticity.quote", _module(mr_signer_seam=b"\1" * 48)),
    "(6h) module of no known version": ("authenticity.quote", _module(tee_svn=bytes([4, 9, *TEE_SVN[2:]]))),
}
"""Likewise, for trust domains alone."""
