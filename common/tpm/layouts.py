"""Keys and counter of a TPM, in the one form that we accept of each (side: library).

Nothing is parsed that may vary: a public area is one of our two templates with a point on P-256 in it, or is refused.
So everything that the templates say (fixed to this TPM, made in it, restricted) holds of every key that gets this far.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

from common.crypto.digests import sha256
from common.errors import FormatError
from common.identifiers import Digest

SHA256: Final = 0x000B
"""TPM_ALG_SHA256 (Part 2, table TPM_ALG_ID)."""

ECDSA: Final = 0x0018
_COORDINATE_BYTES: Final = 32
_MODULUS_BYTES: Final = 256

_ENDORSEMENT_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret(TPM_RH_ENDORSEMENT): EK Credential Profile, appendix B, "PolicyA" for SHA-256."""

_EK_BEFORE_POINT: Final = (
    bytes.fromhex("0023000b000300b20020")  # ECC, SHA-256; fixed, made in the TPM, admin by policy, restricted, decrypts
    + _ENDORSEMENT_POLICY
    + bytes.fromhex("000600800043" + "0010" + "0003" + "0010")  # AES-128-CFB, no scheme, P-256, no KDF
)
"""Template L-2 of the EK Credential Profile: the ECC key for which vendors issue a certificate."""

_RSA_EK_BEFORE_MODULUS: Final = (
    bytes.fromhex("0001000b000300b20020")  # RSA, SHA-256, and the rest as above
    + _ENDORSEMENT_POLICY
    + bytes.fromhex("000600800043" + "0010" + "0800" + "00000000")  # AES-128-CFB, no scheme, 2048 bits, exponent 65537
)
"""Template L-1 of the EK Credential Profile: the RSA key for which vendors issue a certificate."""

_AK_BEFORE_POINT: Final = bytes.fromhex(
    "0023000b000500720000"  # ECC, SHA-256; fixed, made in the TPM, user with auth, restricted, signs; no policy
    "0010" + "0018000b" + "0003" + "0010"  # no symmetric, ECDSA over SHA-256, P-256, no KDF
)
"""A restricted signing key: of bytes that begin with TPM_GENERATED it signs only what its TPM has made (Part 1)."""

_WRITTEN: Final = 1 << 29
COUNTER_ATTRIBUTES: Final = 1 << 2 | 1 << 4 | 1 << 18 | 1 << 25
"""TPMA_NV (Part 2): AUTHWRITE, type counter, AUTHREAD, NO_DA; neither ORDERLY nor CLEAR_STCLEAR nor POLICY_DELETE."""

COUNTER_BYTES: Final = 8


def sized(raw: bytes) -> bytes:
    """A TPM2B: length (2, big-endian), bytes."""
    return len(raw).to_bytes(2, "big") + raw


def name_of(digest: Digest) -> bytes:
    """The Name of what has a public area of this digest (Part 1, "Names"): algorithm, digest."""
    return SHA256.to_bytes(2, "big") + digest.raw()


@dataclass(frozen=True)
class TpmKey:
    """A point on P-256 in a template. `area` is its TPMT_PUBLIC."""

    x: bytes
    y: bytes
    before_point: ClassVar[bytes] = b""

    @classmethod
    def template(cls, point_bytes: int) -> bytes:
        """What TPM2_CreatePrimary is asked to make: the area with zeros for the point."""
        return cls.before_point + 2 * sized(bytes(point_bytes))

    @classmethod
    def parse(cls, area: bytes) -> Self:
        """The key in a public area. Raises `FormatError` for any other kind of key."""
        end = len(cls.before_point)
        x, y = area[end + 2 : end + 2 + _COORDINATE_BYTES], area[-_COORDINATE_BYTES:]
        key = cls(x, y)
        if key.area != area:
            raise FormatError("format.message", expected=f"a public area of {cls.__name__}")
        return key

    @property
    def area(self) -> bytes:
        """The public area."""
        return self.before_point + sized(self.x) + sized(self.y)

    @property
    def digest(self) -> Digest:
        """SHA-256 of the public area: what is pinned of an endorsement key."""
        return sha256(self.area)

    @property
    def name(self) -> bytes:
        """Its Name."""
        return name_of(self.digest)


class EndorsementKey(TpmKey):
    """The key that a vendor's certificate ties to one TPM. It opens credentials and signs nothing."""

    before_point = _EK_BEFORE_POINT


@dataclass(frozen=True)
class RsaEndorsementKey:
    """The same as an RSA key. `area` is its TPMT_PUBLIC."""

    modulus: bytes

    @classmethod
    def template(cls) -> bytes:
        """What TPM2_CreatePrimary is asked to make: the area with zeros for the modulus."""
        return _RSA_EK_BEFORE_MODULUS + sized(bytes(_MODULUS_BYTES))

    @classmethod
    def parse(cls, area: bytes) -> Self:
        """The key in a public area. Raises `FormatError` for any other kind of key."""
        key = cls(area[-_MODULUS_BYTES:])
        if key.area != area or len(key.modulus) != _MODULUS_BYTES:
            raise FormatError("format.message", expected=f"a public area of {cls.__name__}")
        return key

    @property
    def area(self) -> bytes:
        """The public area."""
        return _RSA_EK_BEFORE_MODULUS + sized(self.modulus)

    @property
    def digest(self) -> Digest:
        """SHA-256 of the public area."""
        return sha256(self.area)

    @property
    def name(self) -> bytes:
        """Its Name."""
        return name_of(self.digest)


class AttestationKey(TpmKey):
    """The key with which that TPM signs what it attests."""

    before_point = _AK_BEFORE_POINT


def counter_area(index: int, *, written: bool) -> bytes:
    """TPMS_NV_PUBLIC of the counter at this index, before or after its first increment."""
    attributes = COUNTER_ATTRIBUTES | (_WRITTEN if written else 0)
    return (
        index.to_bytes(4, "big")
        + SHA256.to_bytes(2, "big")
        + attributes.to_bytes(4, "big")
        + sized(b"")
        + COUNTER_BYTES.to_bytes(2, "big")
    )


def counter_name(index: int) -> bytes:
    """Name of a counter that counts: another type, attribute or handle is another Name."""
    return name_of(sha256(counter_area(index, written=True)))
