"""What a signer says of an SGX enclave: SIGSTRUCT, the 1808 bytes of a Gramine `.sig` file (side: verifier).

Source: Intel SDM vol. 3D, table "Layout of Enclave Signature Structure (SIGSTRUCT)", and EINIT's checks. All integers
are little-endian, the big ones too. In this order, each raises:

  (1) exactly 1808 bytes, both headers, a known vendor, and zeros in all reserved fields;
  (2) an RSA modulus of 3072 bits with exponent 3, and a signature below the modulus;
  (3) the signature is PKCS #1 v1.5 with SHA-256 over bytes 0 to 128 and 900 to 1028;
  (4) Q1 and Q2 are the quotients that EINIT computes with, so that the CPU would take this structure.

What the caller must still do: hold `mr_signer` against a signer that he knows. Anybody can sign an enclave. The date is
not read: signers write it in binary or in BCD, and nothing rests on it.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from common.crypto.digests import sha256
from common.errors import AppraisalError, AuthenticityError, FormatError
from common.identifiers import MrEnclave
from common.messages.evidence import SGX_FLAGS_DEBUG, SGX_FLAGS_INIT
from common.messages.reference_values import XFRM_KNOWN, XFRM_X87_SSE, SgxReferenceValue
from common.messages.tcb_terms import TcbTerms

SIGSTRUCT_BYTES: Final = 1808
_CODE: Final = "format.sigstruct"

_HEADER: Final = bytes.fromhex("06000000e10000000000010000000000")
_HEADER2: Final = bytes.fromhex("01010000600000006000000001000000")
_VENDORS: Final = (0, 0x8086)
"""Anybody, Intel."""

_VENDOR: Final = slice(16, 20)
_HEADER2_AT: Final = 24
_MODULUS: Final = slice(128, 512)
_EXPONENT: Final = slice(512, 516)
_SIGNATURE: Final = slice(516, 900)
_MR_ENCLAVE: Final = slice(960, 992)
_Q1: Final = slice(1040, 1424)
_Q2: Final = slice(1424, 1808)
_SIGNED: Final = (slice(0, 128), slice(900, 1028))
_RESERVED: Final = (slice(44, 128), slice(910, 912), slice(992, 1008), slice(1028, 1040))

_EXPONENT_VALUE: Final = 3
_MODULUS_BITS: Final = 3072


@dataclass(frozen=True, slots=True)
class Sigstruct:
    """An authentic SIGSTRUCT. A mask says which bits the CPU compares; the others may be launched either way."""

    mr_enclave: MrEnclave
    mr_signer: MrEnclave
    isv_prod_id: int
    isv_svn: int
    attribute_flags: int
    xfrm: int
    xfrm_mask: int
    misc_select: int

    @property
    def is_debug(self) -> bool:
        """Whether it allows a debug enclave, whose memory whoever runs the host reads."""
        return bool(self.attribute_flags & SGX_FLAGS_DEBUG)

    def reference_value(self, tcb: TcbTerms) -> SgxReferenceValue:
        """What a quote of this enclave must state. Raises `AppraisalError` (appraisal.debug) for a debug enclave.

        INIT is set by EINIT itself. Where the mask leaves XFRM open, it may be anything known.
        """
        if self.is_debug:
            raise AppraisalError("appraisal.debug", expected="a signature for production", seen="DEBUG in ATTRIBUTES")
        return SgxReferenceValue(
            mr_enclave=self.mr_enclave,
            attribute_flags=self.attribute_flags | SGX_FLAGS_INIT,
            misc_select=self.misc_select,
            required_xfrm=(self.xfrm & self.xfrm_mask) | XFRM_X87_SSE,
            allowed_xfrm=(XFRM_KNOWN & (self.xfrm | ~self.xfrm_mask)) | XFRM_X87_SSE,
            tcb=tcb,
        )


def parse_sigstruct(raw: bytes) -> Sigstruct:
    """Checks (1) to (4). Raises `FormatError` (format.sigstruct) or `AuthenticityError` (authenticity.signature)."""
    _require_layout(raw)  # (1)
    modulus, signature = _number(raw[_MODULUS]), _number(raw[_SIGNATURE])
    exponent = _number(raw[_EXPONENT])
    if (modulus.bit_length(), modulus & 1, exponent) != (_MODULUS_BITS, 1, _EXPONENT_VALUE) or signature >= modulus:
        raise FormatError(_CODE, expected="an RSA-3072 signature with exponent 3", seen=f"exponent {exponent}")  # (2)
    _require_signed(raw, modulus, signature)  # (3)
    q1, rest = divmod(signature * signature, modulus)
    if (_number(raw[_Q1]), _number(raw[_Q2])) != (q1, rest * signature // modulus):  # (4)
        raise FormatError(_CODE, expected="Q1 and Q2 of this signature")
    return Sigstruct(
        mr_enclave=MrEnclave.of(raw[_MR_ENCLAVE]),
        mr_signer=MrEnclave(sha256(raw[_MODULUS])),
        isv_prod_id=_number(raw[1024:1026]),
        isv_svn=_number(raw[1026:1028]),
        attribute_flags=_number(raw[928:936]),
        xfrm=_number(raw[936:944]),
        xfrm_mask=_number(raw[952:960]),
        misc_select=_number(raw[900:904]),
    )


def _require_layout(raw: bytes) -> None:
    if len(raw) != SIGSTRUCT_BYTES:
        raise FormatError(_CODE, expected=f"{SIGSTRUCT_BYTES} bytes", seen=len(raw))
    headers = (raw[: len(_HEADER)], raw[_HEADER2_AT : _HEADER2_AT + len(_HEADER2)])
    if headers != (_HEADER, _HEADER2) or _number(raw[_VENDOR]) not in _VENDORS:
        raise FormatError(_CODE, expected="SIGSTRUCT's headers and a known vendor")
    if any(any(raw[reserved]) for reserved in _RESERVED):
        raise FormatError(_CODE, expected="zeros in reserved fields")


def _require_signed(raw: bytes, modulus: int, signature: int) -> None:
    key = RSAPublicNumbers(_EXPONENT_VALUE, modulus).public_key()
    signed = b"".join(raw[part] for part in _SIGNED)
    try:
        key.verify(signature.to_bytes(_MODULUS_BITS // 8, "big"), signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        signer = sha256(raw[_MODULUS])
        raise AuthenticityError("authenticity.signature", expected=f"a signature by the key {signer}") from None


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
