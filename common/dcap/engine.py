"""The one door to dcap-qvl, the engine that checks signatures, chains, revocation and TCB levels (side: verifier).

Pinned to dcap-qvl 0.7. What it does not judge is `common.dcap.verification`'s to judge. Its refusals are text;
here they become our errors, and the text is kept for those entitled to it (`seen`).
"""

import json
from typing import Any, Final

import dcap_qvl

from common.errors import AppraisalError, AuthenticityError, FormatError, Refusal
from common.identifiers import PlatformId
from common.messages.evidence import Collateral

_REVOKED_TCB: Final = "TCB status is invalid"
"""The engine's words for a TCB level that Intel has revoked: an authentic quote of a platform beyond repair."""


def pck_chain_pem(quote: bytes) -> bytes:
    """The certificate chain inside the quote (certification data type 5), nothing checked.

    Raises `FormatError` (format.quote) when it carries none.
    """
    try:
        pem: bytes | None = dcap_qvl.parse_quote(quote).cert_chain_pem_bytes()
    except ValueError as cause:
        raise FormatError("format.quote", expected="a quote that parses", seen=cause) from cause
    if not pem:
        raise FormatError("format.quote", expected="a quote that carries its PCK certificate chain")
    return pem.rstrip(b"\0")  # authentic chains end with the terminator of a C string


def pck_platform(quote: bytes) -> tuple[str, str]:
    """FMSPC (12 lower-case digits) and CA (`processor` or `platform`) of the PCK certificate inside, nothing checked.

    Raises `FormatError` (format.quote).
    """
    try:
        parsed = dcap_qvl.parse_quote(quote)
        return parsed.fmspc().lower(), parsed.ca()
    except ValueError as cause:
        raise FormatError("format.quote", expected="a quote that carries its PCK certificate", seen=cause) from cause


def unverified_machine(quote: bytes) -> frozenset[PlatformId]:
    """PPID and platform instance id in the PCK certificate inside, nothing checked: for a quote of one's own.

    Raises `FormatError` (format.quote).
    """
    try:
        pck = dcap_qvl.parse_pck_extension_from_pem(pck_chain_pem(quote))
    except ValueError as cause:
        raise FormatError("format.quote", expected="a quote that carries its PCK certificate", seen=cause) from cause
    return frozenset(PlatformId(one.hex()) for one in (pck.ppid, pck.platform_instance_id) if one)


_CONFIGURATION: Final = "1.2.840.113741.1.13.1.7"
_STATED: Final = {b"\xff": "True", b"\0": "False"}
"""PCK Certificate and CRL Profile 1.5, section 1.3.5, in DER; and in the engine's claims."""


def pck_fields(quote: bytes) -> dict[str, Any]:
    """What the PCK certificate inside says, by the names of the engine's claims, nothing checked.

    Raises `FormatError` (format.quote).
    """
    try:
        pck = dcap_qvl.parse_pck_extension_from_pem(pck_chain_pem(quote))
        flags = [_STATED.get(pck.get_value(f"{_CONFIGURATION}.{arc}") or b"", "Undefined") for arc in (1, 2, 3)]
    except ValueError as cause:
        raise FormatError("format.quote", expected="a quote that carries its PCK certificate", seen=cause) from cause
    names = ("ppid", "cpu_svn", "pce_svn", "pce_id", "fmspc", "platform_instance_id")
    configuration = zip(("dynamic_platform", "cached_keys", "smt_enabled"), flags, strict=True)
    return {**{name: getattr(pck, name) for name in names}, **dict(configuration)}


def verify_with_engine(quote: bytes, collateral: Collateral, root_der: bytes, at: int) -> dict[str, Any]:
    """The engine's claims (its JSON, version 1) about a quote that is authentic under this root at this time.

    (a) the PCK certificate's chain leads to the root, and every certificate in it is valid at `at`;
    (b) no certificate of any chain is revoked by the two CRLs, which their issuers signed, and the PCK certificate's
        issuer is one of these;
    (c) TCB info and QE identity are signed by their signer;
    (d) the PCK certificate's key signed the quoting enclave's report;
    (e) the first half of that report's data is the digest of attestation key and authentication data;
    (f) the quoting enclave is the QE identity's: signer, product, MISCSELECT, ATTRIBUTES, a known security version;
    (g) the attestation key signed the quote's header and report;
    (h) TCB info is of the PCK certificate's FMSPC, and knows the platform's TCB level and a trust domain's TDX module;
    (i) that level is not revoked.

    Success says nothing about the TCB status: OutOfDate and friends pass. The engine refuses more, which is ours to
    refuse before it: dates (5), debug and the like (2). Raises `AuthenticityError` (authenticity.quote) or
    `AppraisalError` (appraisal.tcb_status, i).
    """
    try:
        found = _ask(quote, collateral, root_der, at)  # (a) (b) (c) (d) (e) (f) (g) (h) (i)
    except ValueError as cause:
        raise _translate(str(cause)) from cause
    claims: dict[str, Any] = json.loads(found.to_json())
    return claims


_ATTRIBUTE_REFUSALS: Final = frozenset(
    f"Verification failed: {words}"
    for words in (
        "Debug mode is enabled",
        "SEPT_VE_DISABLE is not enabled",
        "TD profiling is enabled",
        "TD migration is enabled",
        "Invalid MR service TD",
    )
)
"""All that the engine says of a quote that it refuses for what terms may name (`exposure`), which it looks at last."""


def require_refused_for_attributes(quote: bytes, collateral: Collateral, root_der: bytes, at: int) -> None:
    """Raise what `verify_with_engine` raises, but for a quote that the engine refuses for its attributes alone: such a
    quote has passed (a) to (i). One that it accepts has none of them, and raises `AuthenticityError`, too.
    """
    try:
        _ask(quote, collateral, root_der, at)
    except ValueError as cause:
        if str(cause) not in _ATTRIBUTE_REFUSALS:
            raise _translate(str(cause)) from cause
    else:
        raise AuthenticityError("authenticity.quote", expected="a quote that the engine refuses for its attributes")


def _ask(quote: bytes, collateral: Collateral, root_der: bytes, at: int) -> dcap_qvl.QuoteClaims:
    fields = {name: getattr(collateral, name) for name in Collateral.model_fields}
    pieces = dcap_qvl.QuoteCollateralV3(**fields)
    policy = dcap_qvl.QuotePolicy.claims_only(at)
    return dcap_qvl.QuoteVerifier(root_der).verify_with_policy(quote, pieces, at, policy)


def _translate(text: str) -> Refusal:
    if _REVOKED_TCB in text:
        return AppraisalError("appraisal.tcb_status", expected="a TCB that is not revoked", seen=text)
    return AuthenticityError("authenticity.quote", expected="a quote that dcap-qvl verifies", seen=text)
