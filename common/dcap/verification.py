"""Is this quote authentic? Evidence, allowed roots and a time in, claims out (side: verifier).

All checks are made at one chosen time `at`, so a stored verification can be replayed. In this order, each raises:

  (1) the quote is well-formed, of the stated TEE, and nothing follows it;
  (2) the host can't look inside by its attributes, unless terms of the caller's name it: no debug, and for a trust
      domain SEPT_VE_DISABLE is set, it may be neither profiled nor migrated, and no service domain is bound to it
      (`exposure`);
  (3) every certificate chain is complete and everyone in it in its role (`certificates`);
  (4) the root's key is one that the caller allows for this TEE; it decides the trust level (`roots`);
  (5) TCB info and QE identity are of the right kind and version; they and both CRLs are neither expired nor from the
      future (`collateral`);
  (6) the engine verifies: root -> PCK CA -> PCK -> QE report -> attestation key -> quote; collateral signatures;
      revocation; QE identity; FMSPC; TCB level (`engine`). Of a quote that only (2) speaks against it says that
      nothing else does, and the same is verified here (`exposed_quote`);
  (7) TCB info is for the PCE that the PCK certificate names (same PCEID);
  (8) the QE's report data is the digest of the attestation key and nothing else: its other 32 bytes are zero.

A debug enclave of any platform has the trust level of a simulation, for whoever runs the host reads its memory.

What the caller must still do: hold `claims` against reference values and terms (`appraise`, `require_tcb`: TCB status,
measurement, attributes; OutOfDate and friends pass here, and what `allowing` names), and `report_data` against what the
launch had to bind (`require_report_data`).
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from common.dcap.certificates import require_chains
from common.dcap.claims import PlatformClaims, QuoteClaims, SgxClaims, TdxClaims
from common.dcap.collateral import require_collateral
from common.dcap.engine import pck_chain_pem, verify_with_engine
from common.dcap.exposed_quote import verify_exposed
from common.dcap.exposure import NOT_EXPOSED, Exposed, exposed_in, require_allowed
from common.dcap.quote_format import UnverifiedQuote, parse_quote
from common.dcap.roots import require_allowed_root, trust_level_of
from common.dcap.td_report import td_fields
from common.errors import AuthenticityError, FormatError
from common.identifiers import Fmspc, MrEnclave, PlatformId
from common.messages.evidence import AllowedRoot, SgxDcapEvidence, TdxDcapEvidence, TrustLevel
from common.messages.tcb_terms import TcbStatus, TcbTerms

_TEE_OF = {"sgx-dcap": "sgx", "tdx-dcap": "tdx"}
_STATED = {"True": True, "False": False, "Undefined": None}


def verify_quote(
    evidence: SgxDcapEvidence | TdxDcapEvidence,
    roots: Collection[AllowedRoot],
    at: int,
    allowing: Iterable[TcbTerms] = (),
) -> QuoteClaims:
    """The claims of an authentic quote: `SgxClaims` or `TdxClaims`. `at` is Unix time in seconds.

    What none of the terms in `allowing` names is refused here (2); what one names passes, and whoever gives them holds
    the claims against each of them afterwards.
    Raises `FormatError` (1, 3, 5), `AppraisalError` (2, 4; 6 for a revoked TCB), `AuthenticityError` (3, 6, 7, 8) or
    `FreshnessError` (3, 5).
    """
    collateral = evidence.collateral
    quote = parse_quote(evidence.quote)  # (1)
    if quote.tee != _TEE_OF[evidence.type]:  # (1)
        raise FormatError("format.quote", expected=evidence.type, seen=quote.tee)
    exposed = exposed_in(quote)
    require_allowed(exposed, allowing)  # (2)
    chains = require_chains(pck_chain_pem(evidence.quote), collateral, at)  # (3)
    require_allowed_root(chains.root_key, quote.tee, roots)  # (4)
    tcb_info = require_collateral(collateral, quote.tee, at)  # (5)
    verify = verify_with_engine if exposed is NOT_EXPOSED else verify_exposed
    verified = verify(evidence.quote, collateral, chains.root_der, at)  # (6)
    if bytes(verified["platform"]["pck"]["pce_id"]) != tcb_info.pce_id:  # (7)
        raise AuthenticityError("authenticity.quote", expected="TCB info for the PCE of the PCK certificate")
    if any(bytes.fromhex(verified["qe"]["report"]["report_data"])[32:]):  # (8)
        raise AuthenticityError("authenticity.quote", expected="QE report data of one digest and zeros")
    level = TrustLevel.SIMULATION if quote.is_debug else trust_level_of(chains.root_key, quote.tee)
    return _claims(quote, _machine(verified, exposed), level)


def _claims(quote: UnverifiedQuote, machine: PlatformClaims, trust_level: TrustLevel) -> QuoteClaims:
    body = quote.body
    if quote.tee == "sgx":  # layout: sgx_report_body_t, Intel SDM vol. 3D, table 37-21
        return SgxClaims(
            trust_level=trust_level,
            machine=machine,
            report_data=body[320:384],
            mr_enclave=MrEnclave.of(body[64:96]),
            mr_signer=MrEnclave.of(body[128:160]),
            isv_prod_id=_integer(body[256:258]),
            isv_svn=_integer(body[258:260]),
            attribute_flags=_integer(body[48:56]),
            xfrm=_integer(body[56:64]),
            misc_select=_integer(body[16:20]),
        )
    return TdxClaims(trust_level=trust_level, machine=machine, **td_fields(quote))


def _machine(verified: dict[str, Any], exposed: Exposed) -> PlatformClaims:
    pck, tcb = verified["platform"]["pck"], verified["tcb"]
    qe_date = datetime.fromisoformat(verified["qe"]["tcb_level"]["tcbDate"]).timestamp()
    identities = (pck["ppid"], pck["platform_instance_id"])
    return PlatformClaims(
        fmspc=Fmspc(bytes(pck["fmspc"]).hex()),
        platform_ids=tuple(PlatformId(bytes(identity).hex()) for identity in identities if identity),
        tcb_status=TcbStatus(tcb["status"]),
        tcb_date=int(min(verified["platform"]["tcb_date_tag"], qe_date)),
        tcb_evaluation=tcb["eval_data_number"],
        advisory_ids=tuple(tcb["advisory_ids"]),
        dynamic=_STATED[pck["dynamic_platform"]],
        cached_keys=_STATED[pck["cached_keys"]],
        smt=_STATED[pck["smt_enabled"]],
        exposed=exposed,
    )


def _integer(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
