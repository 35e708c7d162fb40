"""What a VCEK's or VLEK's certificate says of the chip and its firmware (side: verifier).

Source: AMD 57230, table "X.509 certificate extensions" (1.3.6.1.4.1.3704.1.N): 1 structVersion, 2 productName, 3.N
security versions, 4 hwID (VCEK), 5 cspID (VLEK).
"""

from dataclasses import dataclass
from typing import Final

from cryptography.x509 import Certificate, UnrecognizedExtension

from common.certificate_links import UNREADABLE
from common.errors import AuthenticityError
from common.messages.snp_reference_values import SnpProduct
from common.snp.products import tcb_extensions

_AMD: Final = "1.3.6.1.4.1.3704.1"
_INTEGER: Final = 0x02
_IA5_STRING: Final = 0x16


@dataclass(frozen=True, slots=True)
class Endorsement:
    """`tcb` has eight bytes, in the order of TCB_VERSION. `hw_id` is the chip's; a VLEK is no chip's."""

    silicon: str
    tcb: bytes
    hw_id: bytes | None
    provider: str | None


def read_endorsement(certificate: Certificate, product: SnpProduct) -> Endorsement:
    """Raises `AuthenticityError` (authenticity.snp_report) where an extension is missing or reads otherwise."""
    try:
        said = {one.oid.dotted_string: one.value for one in certificate.extensions}
        values = {name: one.value for name, one in said.items() if isinstance(one, UnrecognizedExtension)}
        provider = values.get(f"{_AMD}.5")
        return Endorsement(
            silicon=_text(values[f"{_AMD}.2"]).partition("-")[0],
            tcb=bytes(_byte(values[f"{_AMD}.3.{number}"]) for number in tcb_extensions(product)),
            hw_id=values.get(f"{_AMD}.4"),
            provider=None if provider is None else _text(provider),
        )
    except (KeyError, *UNREADABLE) as cause:
        expected = f"a certificate with the extensions of {product}"
        raise AuthenticityError("authenticity.snp_report", expected=expected, seen=cause) from cause


def _byte(encoded: bytes) -> int:
    """A DER INTEGER from 0 to 255 in its shortest encoding."""
    value = encoded[-1] if encoded else 0
    if encoded != (bytes((_INTEGER, 1, value)) if value < 0x80 else bytes((_INTEGER, 2, 0, value))):
        raise ValueError("no security version")
    return value


def _text(encoded: bytes) -> str:
    """A DER IA5String of up to 127 characters."""
    if encoded[:2] != bytes((_IA5_STRING, len(encoded) - 2)):
        raise ValueError("no text")
    return encoded[2:].decode("ascii")
