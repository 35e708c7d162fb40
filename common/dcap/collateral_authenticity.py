"""Is this collateral authentic under an allowed root, without a quote? (side: verifier; host).

A filter for whoever stores collateral, so that a lying server or a forged file cannot displace what is good. It is no
verification: the enclave makes every check anew, with the quote. *Not* checked by `require_authentic_collateral`:
revocation, and the dates of certificates below the root; `standing_marks` checks them, too.
"""

from collections.abc import Collection
from datetime import datetime

from cryptography.x509 import Certificate, load_der_x509_crl

from common.certificate_links import UNREADABLE
from common.dcap.certificates import require_collateral_chains
from common.dcap.collateral import require_collateral
from common.dcap.collateral_memory import marks_of
from common.dcap.collateral_name import name_of_collateral
from common.dcap.roots import require_allowed_root
from common.dcap.signed_by import is_crl_of, is_signed_by
from common.errors import AuthenticityError, FormatError, Refusal
from common.json_text import read_json
from common.messages.collateral import CollateralMark, CollateralName
from common.messages.evidence import AllowedRoot, Collateral


def require_authentic_collateral(collateral: Collateral, roots: Collection[AllowedRoot], at: int) -> CollateralName:
    """What it is for, when it is complete, current at `at`, and signed under one of `roots`.

    Raises `FormatError`, `FreshnessError`, `AuthenticityError` or `AppraisalError` (appraisal.root).
    """
    name = name_of_collateral(collateral)
    signers = require_collateral_chains(collateral, at)
    require_allowed_root(signers.chains.root_key, name.tee, roots)
    require_collateral(collateral, name.tee, at)
    _require_signed(collateral.tcb_info, collateral.tcb_info_signature, signers.tcb_info_signer)
    _require_signed(collateral.qe_identity, collateral.qe_identity_signature, signers.qe_identity_signer)
    _require_crl_of(collateral.pck_crl, signers.pck_ca)
    _require_crl_of(collateral.root_ca_crl, signers.root)
    return name


def standing_marks(collateral: Collateral, roots: Collection[AllowedRoot], at: int) -> tuple[CollateralMark, ...]:
    """Marks of documents that count whatever quote they came with: when one is refused they are what is left to learn.

    None, unless all of them are authentic. Those whose signer is not valid at `at`, or revoked by the root CRL, have
    none either: who has stolen a signer's key could reach into the future with it. The root CRL, which says so, has.
    """
    try:
        require_authentic_collateral(collateral, roots, at)
        signers = require_collateral_chains(collateral, at)
        tcb_info, qe_identity, pck_crl, root_crl = marks_of(collateral)
    except Refusal:
        return ()
    revoking = load_der_x509_crl(collateral.root_ca_crl)

    def stands(signer: Certificate) -> bool:
        valid = signer.not_valid_before_utc.timestamp() <= at <= signer.not_valid_after_utc.timestamp()
        return valid and revoking.get_revoked_certificate_by_serial_number(signer.serial_number) is None

    signed = {tcb_info: signers.tcb_info_signer, qe_identity: signers.qe_identity_signer, pck_crl: signers.pck_ca}
    return (*(mark for mark, signer in signed.items() if stands(signer)), root_crl)


def next_update(collateral: Collateral) -> int:
    """When the first of its four documents is overdue. Raises `FormatError` (format.collateral)."""
    try:
        documents = [read_json(text)["nextUpdate"] for text in (collateral.tcb_info, collateral.qe_identity)]
        crls = [load_der_x509_crl(der).next_update_utc for der in (collateral.pck_crl, collateral.root_ca_crl)]
        ends = [*(datetime.fromisoformat(text) for text in documents), *(end for end in crls if end is not None)]
        return int(min(end.timestamp() for end in ends))
    except (*UNREADABLE, KeyError) as cause:
        raise FormatError("format.collateral", expected="documents and CRLs with a next update") from cause


def _require_signed(text: str, signature: bytes, signer: Certificate) -> None:
    if not is_signed_by(signer.public_key(), signature, text.encode()):
        raise AuthenticityError("authenticity.collateral", expected="documents signed by their issuer")


def _require_crl_of(der: bytes, issuer: Certificate) -> None:
    try:
        genuine = is_crl_of(load_der_x509_crl(der), issuer)
    except UNREADABLE as cause:
        raise FormatError("format.collateral", expected="a DER CRL") from cause
    if not genuine:
        raise AuthenticityError("authenticity.collateral", expected="CRLs signed by their issuer")
