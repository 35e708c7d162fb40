"""What a quote says of its TPM's registers, and what they would be (side: verifier).

We read the SHA-256 bank alone. Which register holds what: TCG PC Client Platform Firmware Profile, "PCR Usage", for 0
to 7 (firmware, its configuration, boot loader, Secure Boot); 8 and 9 are the boot loader's and Linux' (command line,
kernel, initrd), 14 is shim's (its own keys), 10 is IMA's (CONFIG_IMA_MEASURE_PCR_IDX).
"""

import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from common.crypto.digests import sha256_raw
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest
from common.tpm_ima.quote_format import SHA256, UnverifiedTpmQuote

BOOT_REGISTERS: Final = (*range(10), 14)
IMA_REGISTER: Final = 10
QUOTED: Final = tuple(sorted((*BOOT_REGISTERS, IMA_REGISTER)))
"""What a host quotes, neither more nor less: so the values beside a quote have one order."""


def extend(value: bytes, digest: bytes) -> bytes:
    """A register after TPM2_PCR_Extend (Part 1, "Extend of a PCR")."""
    return sha256_raw(value + digest)


def registers_digest(values: Sequence[bytes], hash_name: str) -> bytes:
    """What a quote says of these values."""
    return hashlib.new(hash_name, b"".join(values)).digest()


def require_registers(quote: UnverifiedTpmQuote, values: Sequence[Digest], hash_name: str) -> Mapping[int, bytes]:
    """The quoted registers by number. `hash_name` is that of the signature, which also hashes them (Part 3,
    TPM2_Quote).

    Raises `FormatError` for another selection, `AuthenticityError` (authenticity.host) for other values.
    """
    if quote.selections != ((SHA256, QUOTED),):
        raise FormatError("format.host_evidence", expected=f"registers {QUOTED} of SHA-256", seen=quote.selections)
    return quoted_registers(quote, values, hash_name)


def quoted_registers(quote: UnverifiedTpmQuote, values: Sequence[Digest], hash_name: str) -> Mapping[int, bytes]:
    """The same for whatever was selected of the SHA-256 bank."""
    numbers = [number for algorithm, some in quote.selections if algorithm == SHA256 for number in some]
    if len(values) != len(numbers):
        raise FormatError("format.host_evidence", expected=f"{len(numbers)} registers", seen=len(values))
    raw = [value.raw() for value in values]
    if registers_digest(raw, hash_name) != quote.digest:
        raise AuthenticityError("authenticity.host", expected="the registers that are quoted", seen="others")
    return MappingProxyType(dict(zip(numbers, raw, strict=True)))
