"""Where the parts of a TPM's quote lie; nothing here is authentic yet (side: verifier).

Source: TPM 2.0 Library Specification, Part 2, "Attestation Structures" and "Signatures". All integers are big-endian.

  TPMS_ATTEST      magic 4 = TPM_GENERATED | type 2 = TPM_ST_ATTEST_QUOTE | qualified signer, sized 2 | extra data,
                   sized 2 | clock 8 | reset count 4 | restart count 4 | safe 1 | firmware version 8 | selections
                   | digest, sized 2
  selections       count 4 | algorithm 2, octets 1 = 3, bits 3, for each
  TPMT_SIGNATURE   RSASSA or RSAPSS 2, hash 2, signature, sized 2;  or ECDSA 2, hash 2, r, sized 2, s, sized 2

Nothing may follow either of them. One encoding is read of each value, so that one quote has one.
"""

from dataclasses import dataclass
from typing import Final

from common.crypto.tpm_signatures import SchemeName
from common.errors import FormatError
from common.tpm_ima.cursor import Cursor

TPM_GENERATED: Final = 0xFF544347
ATTEST_QUOTE: Final = 0x8018
SHA256: Final = 0x000B
HASHES: Final = {SHA256: "sha256", 0x000C: "sha384"}
"""TPM_ALG_ID of the hashes that we accept (Part 2, and TCG's Algorithm Registry). SHA-1 is none of them."""

SCHEMES: Final[dict[int, SchemeName]] = {0x0014: "rsassa", 0x0016: "rsapss", 0x0018: "ecdsa"}

_MOST_SELECTIONS: Final = 8
_SELECT_OCTETS: Final = 3
_MOST_SIGNATURE: Final = 512
_MOST_EXTRA: Final = 66
_MOST_NAME: Final = 66
"""TPM2B_DATA and TPM2B_NAME hold a TPMT_HA: two bytes and the largest digest."""


@dataclass(frozen=True, slots=True)
class UnverifiedTpmQuote:
    """What a quote says before anything is checked.

    `clock` is in milliseconds; `selections` are algorithm and numbers of the registers, ascending.
    """

    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    firmware_version: int
    selections: tuple[tuple[int, tuple[int, ...]], ...]
    digest: bytes


@dataclass(frozen=True, slots=True)
class TpmSignature:
    """A signature by its scheme and hash: one number for RSA, r and s for ECDSA."""

    scheme: SchemeName
    hash_name: str
    numbers: tuple[bytes, ...]


def parse_tpm_quote(raw: bytes) -> UnverifiedTpmQuote:
    """Raises `FormatError` (format.host_evidence)."""
    cursor = Cursor(raw, "big")
    magic, kind = cursor.integer(4), cursor.integer(2)
    if (magic, kind) != (TPM_GENERATED, ATTEST_QUOTE):
        raise FormatError("format.host_evidence", expected="a quote that a TPM made", seen=f"{magic:08x} {kind:04x}")
    cursor.sized(2, _MOST_NAME)
    extra_data = cursor.sized(2, _MOST_EXTRA)
    clock, resets, restarts, safe = (cursor.integer(size) for size in (8, 4, 4, 1))
    if safe > 1:
        raise FormatError("format.host_evidence", expected="TPMI_YES_NO", seen=safe)
    firmware = cursor.integer(8)
    selections = _selections(cursor)
    digest = cursor.sized(2, 64)
    cursor.require_end()
    return UnverifiedTpmQuote(extra_data, clock, resets, restarts, firmware, selections, digest)


def parse_tpm_signature(raw: bytes) -> TpmSignature:
    """Raises `FormatError` (format.host_evidence)."""
    cursor = Cursor(raw, "big")
    scheme, hash_name = SCHEMES.get(cursor.integer(2)), HASHES.get(cursor.integer(2))
    if scheme is None or hash_name is None:
        raise FormatError("format.host_evidence", expected=f"{sorted(SCHEMES.values())} over {sorted(HASHES.values())}")
    numbers = tuple(cursor.sized(2, _MOST_SIGNATURE) for _ in range(2 if scheme == "ecdsa" else 1))
    cursor.require_end()
    return TpmSignature(scheme, hash_name, numbers)


def _selections(cursor: Cursor) -> tuple[tuple[int, tuple[int, ...]], ...]:
    count = cursor.integer(4)
    if count > _MOST_SELECTIONS:
        raise FormatError("format.host_evidence", expected=f"at most {_MOST_SELECTIONS} banks", seen=count)
    return tuple(_selection(cursor) for _ in range(count))


def _selection(cursor: Cursor) -> tuple[int, tuple[int, ...]]:
    """One bank: bit n of octet m is register 8 m + n (Part 2, TPMS_PCR_SELECT)."""
    algorithm, octets = cursor.integer(2), cursor.integer(1)
    if octets != _SELECT_OCTETS:
        raise FormatError("format.host_evidence", expected=f"{_SELECT_OCTETS} octets of bits", seen=octets)
    bits = int.from_bytes(cursor.take(octets), "little")
    return algorithm, tuple(number for number in range(8 * octets) if bits >> number & 1)
