"""Evidence of an AMD SEV-SNP guest (side: library).

It is no member of the `Evidence` union yet: no release states what such a guest must be, and no broker admits one.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.messages.base import Message
from common.messages.evidence import MAX_CRL_BYTES

SNP_REPORT_BYTES: Final = 0x4A0
"""ATTESTATION_REPORT (AMD 56860, table 23)."""

MAX_CERTIFICATE_BYTES: Final = 4 << 10
"""AMD's have about 1,300 (VCEK) and 1,700 (ASK, ARK)."""

_Certificate = Annotated[bytes, Field(min_length=1, max_length=MAX_CERTIFICATE_BYTES)]


class SevSnpEvidence(Message):
    """A report as the firmware made it, and who vouches for its key.

    Certificates and list are DER, so that they have one encoding: `signer` is the VCEK's or VLEK's, `intermediate` the
    ASK's or ASVK's, `root` the ARK's. `crl` is the list that the ARK signed.
    """

    type: Literal["snp-report"] = "snp-report"
    version: Literal[1] = 1
    report: Annotated[bytes, Field(min_length=SNP_REPORT_BYTES, max_length=SNP_REPORT_BYTES)]
    signer: _Certificate
    intermediate: _Certificate
    root: _Certificate
    crl: Annotated[bytes, Field(min_length=1, max_length=MAX_CRL_BYTES)]
