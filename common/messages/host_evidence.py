"""What a measured host shows for itself (side: library). It is judged in `common/tpm_ima`."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field

from common.identifiers import Digest
from common.messages.base import Message

MAX_HOST_EVIDENCE_BYTES: Final = 96 << 20
"""Encoded: nearly all of it is the list of what ran."""

_Area = Annotated[bytes, Field(max_length=1024)]
_Certificate = Annotated[bytes, Field(max_length=8 << 10)]


class HostEvidence(Message):
    """Structures of the TPM are as it gives them (TPMT_PUBLIC, TPMS_ATTEST, TPMT_SIGNATURE).

    `endorsement_certificates`: DER, the endorsement key's first, then each one's issuer, the root last. `activation`:
    what the TPM read out of the verifier's credential. `registers`: SHA-256, in the order of the quote. `boot_log` and
    `measurement_list`: as Linux shows them, read after the quote. `signing_keys`: SubjectPublicKeyInfo of keys that
    signed files of that list.
    """

    type: Literal["tpm-ima"] = "tpm-ima"
    version: Literal[1] = 1
    endorsement_key: _Area
    endorsement_certificates: Annotated[tuple[_Certificate, ...], Field(min_length=2, max_length=8)]
    attestation_key: _Area
    activation: Annotated[bytes, Field(min_length=32, max_length=32)]
    attested: _Area
    signature: _Area
    registers: Annotated[tuple[Digest, ...], Field(max_length=24)]
    boot_log: Annotated[bytes, Field(max_length=1 << 20)]
    measurement_list: Annotated[bytes, Field(max_length=64 << 20)]
    signing_keys: Annotated[tuple[_Area, ...], Field(max_length=32)] = ()

    @classmethod
    def decode(cls, raw: bytes, *, limit: int = MAX_HOST_EVIDENCE_BYTES) -> Self:
        """Parse; larger than other messages. Raises `FormatError`."""
        return super().decode(raw, limit=limit)
