"""Which key may quote a host: its public area says so, and its TPM keeps to it (side: verifier).

Source: TPM 2.0 Library Specification, Part 2, TPMT_PUBLIC and TPMA_OBJECT. An attestation key is RSA (2048 to 4096) or
ECC (P-256, P-384), was made in this TPM and never leaves it (fixedTPM, fixedParent, sensitiveDataOrigin), signs
(sign, not decrypt) and is restricted: of bytes that begin with TPM_GENERATED it signs only what its TPM has made
(Part 1, "Restricted Signing Keys"). Without that last bit anybody on the host has any quote signed.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from common.crypto.tpm_signatures import CurveName, EccPublic, RsaPublic, SchemeName, TpmPublic
from common.errors import FormatError
from common.tpm_ima.cursor import Cursor
from common.tpm_ima.quote_format import HASHES, SCHEMES

_RSA, _ECC, _NULL = 0x0001, 0x0023, 0x0010
_CURVES: Final[dict[int, tuple[CurveName, int]]] = {3: ("P-256", 32), 4: ("P-384", 48)}
_BITS: Final = (2048, 3072, 4096)

_FIXED_TPM, _FIXED_PARENT, _ORIGIN, _RESTRICTED, _DECRYPT, _SIGN = 1 << 1, 1 << 4, 1 << 5, 1 << 16, 1 << 17, 1 << 18
_NEEDED: Final = _FIXED_TPM | _FIXED_PARENT | _ORIGIN | _RESTRICTED | _SIGN
_OPTIONAL: Final = 1 << 2 | 1 << 6 | 1 << 7 | 1 << 10
"""stClear, userWithAuth, adminWithPolicy, noDA: who may use the key, not what it may do."""


@dataclass(frozen=True)
class HostKey:
    """An attestation key: its public half, the one scheme that it signs with, and its Name."""

    public: TpmPublic
    scheme: SchemeName
    hash_name: str
    name: bytes


def parse_host_key(area: bytes) -> HostKey:
    """The key in a TPMT_PUBLIC. Raises `FormatError` (format.host_evidence) for a key that may not quote."""
    cursor = Cursor(area, "big")
    kind, name_algorithm, attributes = cursor.integer(2), cursor.integer(2), cursor.integer(4)
    cursor.sized(2, 64)  # the policy of whoever uses it
    name_hash = HASHES.get(name_algorithm)
    if name_hash is None:
        raise FormatError(
            "format.host_evidence", expected="a Name by SHA-256 or SHA-384", seen=f"{name_algorithm:#06x}"
        )
    if attributes & ~_OPTIONAL != _NEEDED:
        expected = "a key that is fixed, made in its TPM, restricted, and signs"
        raise FormatError("format.host_evidence", expected=expected, seen=f"attributes {attributes:#010x}")
    symmetric, scheme, hashed = cursor.integer(2), SCHEMES.get(cursor.integer(2)), HASHES.get(cursor.integer(2))
    if symmetric != _NULL or scheme is None or hashed is None or (kind == _ECC) != (scheme == "ecdsa"):
        raise FormatError("format.host_evidence", expected="one signing scheme of its own, over SHA-256 or SHA-384")
    public = _public(cursor, kind)
    cursor.require_end()
    name = name_algorithm.to_bytes(2, "big") + hashlib.new(name_hash, area).digest()
    return HostKey(public, scheme, hashed, name)


def _public(cursor: Cursor, kind: int) -> TpmPublic:
    if kind == _RSA:
        bits, exponent = cursor.integer(2), cursor.integer(4)
        modulus = cursor.sized(2, 512)
        if bits not in _BITS or exponent or 8 * len(modulus) != bits:
            raise FormatError("format.host_evidence", expected=f"RSA of {_BITS} bits, exponent 65537", seen=bits)
        return RsaPublic(modulus)
    curve, size = _CURVES.get(cursor.integer(2), (None, 0))
    derivation = cursor.integer(2)
    x, y = cursor.sized(2, 66), cursor.sized(2, 66)
    if kind != _ECC or curve is None or derivation != _NULL or (len(x), len(y)) != (size, size):
        raise FormatError("format.host_evidence", expected="a point on P-256 or P-384")
    return EccPublic(curve, x, y)
