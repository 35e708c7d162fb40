"""The fields of a TD report; nothing here is authentic yet (side: verifier).

Source: Intel TDX module ABI specification, TDREPORT_STRUCT; DCAP's sgx_report2_body_t. TD 1.5 only appends to it.
"""

from typing import TypedDict

from common.dcap.quote_format import TD10_REPORT_BYTES, UnverifiedQuote
from common.dcap.tcb_levels import Module
from common.identifiers import HexBytes48


class TdFields(TypedDict):
    """By the names that `TdxClaims` gives them. `report_data` has 64 bytes, `tee_tcb_svn` 16."""

    report_data: bytes
    mr_td: HexBytes48
    rtmrs: tuple[HexBytes48, HexBytes48, HexBytes48, HexBytes48]
    mr_config_id: HexBytes48
    mr_owner: HexBytes48
    mr_owner_config: HexBytes48
    mr_seam: HexBytes48
    mr_signer_seam: HexBytes48
    tee_tcb_svn: bytes
    td_attributes: int
    xfam: int


def td_fields(quote: UnverifiedQuote) -> TdFields:
    """What a TDX quote says, whoever made it."""
    body = quote.body
    return TdFields(
        report_data=body[520:584],
        mr_td=_register(body, 136),
        rtmrs=(_register(body, 328), _register(body, 376), _register(body, 424), _register(body, 472)),
        mr_config_id=_register(body, 184),
        mr_owner=_register(body, 232),
        mr_owner_config=_register(body, 280),
        mr_seam=_register(body, 16),
        mr_signer_seam=_register(body, 64),
        tee_tcb_svn=body[:16],
        td_attributes=quote.td_attributes,
        xfam=int.from_bytes(body[128:136], "little"),
    )


def modules_of(quote: UnverifiedQuote) -> tuple[Module, Module | None]:
    """The TDX module under which a domain was launched, and for a TD 1.5 report the one that is there now."""
    body, end = quote.body, TD10_REPORT_BYTES
    launched = Module(body[:16], body[64:112], body[112:120])
    return launched, Module(body[end : end + 16], launched.signer, launched.attributes) if len(body) > end else None


def _register(body: bytes, at: int) -> HexBytes48:
    return HexBytes48(body[at : at + 48].hex())
