"""What collateral does this quote need, and what is this collateral for? (side: library).

Nothing is checked: a wrong answer leads to collateral with which the quote does not verify.
"""

from typing import Any, Final, get_args

from cryptography.x509 import NameOID, load_der_x509_crl

from common.certificate_links import UNREADABLE
from common.dcap.certificates import PCK_CA_NAMES
from common.dcap.engine import pck_platform
from common.dcap.quote_format import parse_quote
from common.dcap.roots import Tee
from common.errors import FormatError
from common.json_text import read_json
from common.messages.collateral import CollateralName, PckCa
from common.messages.evidence import Collateral

_TEE_OF_ID: Final[dict[str, Tee]] = {"SGX": "sgx", "TDX": "tdx"}
_CA_OF_NAME: Final[dict[str, PckCa]] = {PCK_CA_NAMES[ca]: ca for ca in get_args(PckCa)}


def name_of_quote(quote: bytes) -> CollateralName:
    """From the quote's header and its PCK certificate. Raises `FormatError` (format.quote)."""
    tee = parse_quote(quote).tee
    fmspc, ca = pck_platform(quote)
    return CollateralName.model_validate({"tee": tee, "fmspc": fmspc, "ca": ca})


def name_of_collateral(collateral: Collateral) -> CollateralName:
    """From the TCB info and the issuer of the PCK CRL. Raises `FormatError` (format.collateral)."""
    try:
        tcb_info: dict[str, Any] = read_json(collateral.tcb_info)
        fields = {"tee": _TEE_OF_ID[tcb_info["id"]], "fmspc": tcb_info["fmspc"].lower()}
        return CollateralName.model_validate({**fields, "ca": crl_ca(collateral.pck_crl)})
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise FormatError("format.collateral", expected="TCB info with id and fmspc") from cause


def crl_ca(crl: bytes) -> PckCa:
    """The PCK CA that issued a DER CRL, by its name. Raises `FormatError` (format.collateral)."""
    try:
        names = load_der_x509_crl(crl).issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
        return _CA_OF_NAME[str(names[0].value)]
    except (*UNREADABLE, KeyError, IndexError) as cause:
        raise FormatError("format.collateral", expected="a PCK CRL of a PCK CA") from cause
