"""Is a quote authentic that the engine refuses for its attributes, and for nothing else? (side: verifier).

dcap-qvl has no setting that lets pass what terms may name (`exposure`). Its refusal is used as far as it goes: it
makes that check last, so a quote that it refuses with these very words passed all the others. What it does not tell
then are its claims, and one word is too little to open a door; so all of it is verified here once more, with
`cryptography`, and the claims are taken from here. Both must say so. The tests hold each of the two against the other.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography.x509 import Certificate, load_der_x509_certificate, load_der_x509_crl

from common.certificate_links import UNREADABLE
from common.dcap.certificates import (
    PCK_CAS,
    PCK_LEAF,
    ROOT_CA,
    CollateralChains,
    certificates_by_name,
    require_collateral_chains,
    require_links,
)
from common.dcap.engine import pck_chain_pem, pck_fields, require_refused_for_attributes
from common.dcap.quote_format import QuoteParts, parse_quote, split_quote
from common.dcap.signed_by import is_crl_of, is_signed_by, is_signed_by_point
from common.dcap.tcb_levels import Level, isv_level, masked, platform_level, relaunched
from common.dcap.td_report import modules_of
from common.errors import AppraisalError, AuthenticityError
from common.json_text import read_json
from common.messages.evidence import SGX_FLAGS_DEBUG, Collateral
from common.messages.tcb_terms import TcbStatus

_QE_VENDOR_INTEL: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ATTESTATION_KEY_P256: Final = b"\2\0"
_AUTHENTICATION_DATA_BYTES: Final = 32

_TD_ATTRIBUTES_DEFINED: Final = sum(1 << bit for bit in (0, 4, 5, 6, 16, *range(18, 23), *range(27, 32), 62, 63))
"""The bits of TDATTRIBUTES that dcap-qvl 0.7.0 lets pass, and those that terms may name. With any other one set it is
nobody's to allow."""

_NOT_AS_SPECIFIED: Final = (*UNREADABLE, KeyError, IndexError, AttributeError)


@dataclass(frozen=True, slots=True)
class _Signers:
    """Everybody who vouches for the quote."""

    pck: Certificate
    pck_ca: Certificate
    collateral: CollateralChains

    def all(self) -> tuple[Certificate, ...]:
        of = self.collateral
        return self.pck, self.pck_ca, of.root, of.pck_ca, of.tcb_info_signer, of.qe_identity_signer


def verify_exposed(quote: bytes, collateral: Collateral, root_der: bytes, at: int) -> dict[str, Any]:
    """What `verify_with_engine` says of others, of a quote that it refuses for its attributes alone.

    By the names of the engine's claims, as far as they are used. Raises what it raises.
    """
    require_refused_for_attributes(quote, collateral, root_der, at)
    return verify_by_ourselves(quote, collateral, root_der, at)


def verify_by_ourselves(quote: bytes, collateral: Collateral, root_der: bytes, at: int) -> dict[str, Any]:
    """The rules of `verify_with_engine`, by its letters, without the engine: for quotes that passed steps 1 to 5.

    (a) the PCK certificate's chain leads to the root, and every certificate in any chain is valid at `at`;
    (b) none of them is revoked by the two CRLs, which root and PCK CA signed;
    (c) TCB info and QE identity are signed by their signers;
    (d) the PCK certificate's key signed the quoting enclave's report;
    (e) the first half of that report's data is the digest of attestation key and authentication data;
    (f) the quoting enclave is the QE identity's: signer, product, MISCSELECT, ATTRIBUTES, a known security version;
    (g) the attestation key signed the quote's header and report, which are what Intel's are;
    (h) TCB info is of the PCK certificate's FMSPC, and knows the platform's TCB level and a trust domain's TDX module;
    (i) that level is not revoked.
    """
    try:
        return _verify(quote, collateral, root_der, at)
    except _NOT_AS_SPECIFIED as cause:
        raise _refusal("quote and collateral as they are specified") from cause


def _verify(quote: bytes, collateral: Collateral, root_der: bytes, at: int) -> dict[str, Any]:
    parts, pck, signers = split_quote(quote), pck_fields(quote), _signers(quote, collateral, at)
    tcb_info, qe_identity = read_json(collateral.tcb_info), read_json(collateral.qe_identity)
    _require_valid(signers, root_der, at)  # (a)
    _require_unrevoked(signers, collateral)  # (b)
    _require_signed(signers, collateral)  # (c)
    if not is_signed_by(signers.pck.public_key(), parts.qe_report_signature, parts.qe_report):  # (d)
        raise _refusal("a QE report that the PCK signed")
    _require_key_bound(parts)  # (e)
    _require_quoting_enclave(parts.qe_report, qe_identity)  # (f)
    _require_quote_signed(quote, parts)  # (g)
    if bytes.fromhex(tcb_info["fmspc"]) != pck["fmspc"]:  # (h)
        raise _refusal("TCB info of the PCK certificate's FMSPC")
    level = _level(quote, tcb_info, pck)
    qe_level = isv_level(qe_identity["tcbLevels"], _integer(parts.qe_report[258:260]))
    whole = level.with_part(qe_level)
    if whole.status is TcbStatus.REVOKED:  # (i)
        raise AppraisalError("appraisal.tcb_status", expected="a TCB that is not revoked", seen=whole.status)
    evaluation = min(document["tcbEvaluationDataNumber"] for document in (tcb_info, qe_identity))
    return {
        "platform": {"pck": pck, "tcb_date_tag": level.date},
        "tcb": {"status": whole.status, "advisory_ids": whole.advisories, "eval_data_number": evaluation},
        "qe": {
            "report": {"report_data": parts.qe_report[320:].hex()},
            "tcb_level": {"tcbDate": datetime.fromtimestamp(qe_level.date, UTC).isoformat()},
        },
    }


def _signers(quote: bytes, collateral: Collateral, at: int) -> _Signers:
    chain = certificates_by_name(pck_chain_pem(quote))
    return _Signers(chain[PCK_LEAF], _pck_ca(chain), require_collateral_chains(collateral, at))


def _pck_ca(chain: Mapping[str, Certificate]) -> Certificate:
    [name] = chain.keys() & PCK_CAS
    require_links([chain[PCK_LEAF], chain[name], chain[ROOT_CA]])
    return chain[name]


def _require_valid(signers: _Signers, root_der: bytes, at: int) -> None:
    for one in signers.all():
        if not one.not_valid_before_utc.timestamp() <= at <= one.not_valid_after_utc.timestamp():
            raise _refusal(f"certificates that are valid at {at}")
    require_links([signers.pck, signers.pck_ca, load_der_x509_certificate(root_der)])


def _require_unrevoked(signers: _Signers, collateral: Collateral) -> None:
    of = signers.collateral
    root_crl, pck_crl = load_der_x509_crl(collateral.root_ca_crl), load_der_x509_crl(collateral.pck_crl)
    if not is_crl_of(root_crl, of.root) or not is_crl_of(pck_crl, signers.pck_ca):
        raise _refusal("CRLs that the root and the PCK certificate's CA signed")
    judged = [(signers.pck, pck_crl), *((one, root_crl) for one in signers.all()[1:])]
    if any(crl.get_revoked_certificate_by_serial_number(one.serial_number) is not None for one, crl in judged):
        raise _refusal("certificates that are not revoked")


def _require_signed(signers: _Signers, collateral: Collateral) -> None:
    of = signers.collateral
    for signer, signature, text in (
        (of.tcb_info_signer, collateral.tcb_info_signature, collateral.tcb_info),
        (of.qe_identity_signer, collateral.qe_identity_signature, collateral.qe_identity),
    ):
        if not is_signed_by(signer.public_key(), signature, text.encode()):
            raise _refusal("documents signed by their signer")


def _require_key_bound(parts: QuoteParts) -> None:
    bound = hashlib.sha256(parts.attestation_key + parts.authentication_data).digest()
    if len(parts.authentication_data) != _AUTHENTICATION_DATA_BYTES or parts.qe_report[320:352] != bound:
        raise _refusal("a QE report that binds the attestation key")


def _require_quoting_enclave(report: bytes, identity: Mapping[str, Any]) -> None:
    seen = (report[128:160], _integer(report[256:258]))
    if seen != (bytes.fromhex(identity["mrsigner"]), identity["isvprodid"]) or report[48] & SGX_FLAGS_DEBUG:
        raise _refusal("the quoting enclave of the QE identity, not in debug")
    for value, name in ((report[16:20], "miscselect"), (report[48:64], "attributes")):
        mask = bytes.fromhex(identity[f"{name}Mask"])
        if masked(value, mask) != masked(bytes.fromhex(identity[name]), mask):
            raise _refusal(f"a quoting enclave whose {name} are the QE identity's")


def _require_quote_signed(raw: bytes, parts: QuoteParts) -> None:
    quote = parse_quote(raw)
    if raw[2:4] != _ATTESTATION_KEY_P256 or raw[12:28] != _QE_VENDOR_INTEL:
        raise _refusal("a quote of Intel's quoting enclave with a P-256 key")
    if quote.tee == "tdx" and quote.td_attributes & ~_TD_ATTRIBUTES_DEFINED:
        raise _refusal("no bit of TDATTRIBUTES that is reserved", seen=hex(quote.td_attributes))
    if not is_signed_by_point(parts.attestation_key, parts.signature, parts.signed):
        raise _refusal("a quote that the attestation key signed")


def _level(raw: bytes, tcb_info: Mapping[str, Any], pck: Mapping[str, Any]) -> Level:
    quote = parse_quote(raw)
    svns = (pck["cpu_svn"], pck["pce_svn"])
    if quote.tee == "sgx":
        return platform_level(tcb_info, *svns)
    launched, current = modules_of(quote)
    level = platform_level(tcb_info, *svns, launched)
    return level if current is None else relaunched(level, platform_level(tcb_info, *svns, current))


def _refusal(expected: str, seen: object = None) -> AuthenticityError:
    return AuthenticityError("authenticity.quote", expected=expected, seen=seen)


def _integer(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
