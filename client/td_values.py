"""What a trust domain must be, read out of a value file or out of a quote of one's own (side: owner)."""

from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from common.dcap.quote_format import parse_quote
from common.dcap.td_report import td_fields
from common.errors import AppraisalError, FormatError
from common.json_text import read_json
from common.messages.evidence import Evidence
from common.messages.reference_values import TdxReferenceValue
from common.messages.tcb_terms import TcbTerms

NO_TERMS: Final = TcbTerms()
"""Those of a value file stand."""

_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Evidence)


def read_td_value(file: Path, tcb: TcbTerms = NO_TERMS) -> TdxReferenceValue:
    """A `tdx` reference value as JSON, or the value of the domain that made a quote (evidence, or a bare quote v4, v5).

    A quote is not verified: it says what ran where its reader ran it, and is worth as much as that. From a quote come
    measurements, all four RTMRs, owner registers and attributes; any TDX module of its signer is accepted. Terms of a
    value file stand, unless `tcb` says others. Raises `FormatError`, or `AppraisalError` (appraisal.debug).
    """
    raw = file.read_bytes()
    value = TdxReferenceValue.decode(raw) if _type_in(raw) == "tdx" else _value_of(_quote_in(raw))
    if value.td_attributes & 1:
        raise AppraisalError("appraisal.debug", expected="a domain whose host can't read its memory", seen=file.name)
    return value if tcb == NO_TERMS else value.model_copy(update={"tcb": tcb})


def _value_of(quote: bytes) -> TdxReferenceValue:
    parsed = parse_quote(quote)
    if parsed.tee != "tdx":
        raise FormatError("format.quote", expected="a TDX quote", seen=parsed.tee)
    seen = td_fields(parsed)
    return TdxReferenceValue(
        mr_td=seen["mr_td"],
        rtmrs=seen["rtmrs"],
        mr_config_id=seen["mr_config_id"],
        mr_owner=seen["mr_owner"],
        mr_owner_config=seen["mr_owner_config"],
        mr_signer_seam=seen["mr_signer_seam"],
        td_attributes=seen["td_attributes"],
    )


def _quote_in(raw: bytes) -> bytes:
    if raw[:1] != b"{":
        return raw
    try:
        return _EVIDENCE.validate_json(raw).quote
    except ValidationError:
        raise FormatError("format.quote", expected="a `tdx` reference value, evidence, or a quote") from None


def _type_in(raw: bytes) -> str:
    try:
        return str(read_json(raw)["type"]) if raw[:1] == b"{" else "a bare quote"
    except (ValueError, KeyError, TypeError):
        return "no document"
