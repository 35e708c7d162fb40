"""Signatures by the attestation key of a host's TPM, whatever its maker gave it: RSA or ECC (side: library)."""

from dataclasses import dataclass
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from common.errors import AuthenticityError, FormatError

SchemeName = Literal["rsassa", "rsapss", "ecdsa"]
CurveName = Literal["P-256", "P-384"]

_HASHES: Final[dict[str, HashAlgorithm]] = {"sha256": SHA256(), "sha384": SHA384()}
_FILE_HASHES: Final[dict[str, HashAlgorithm]] = {**_HASHES, "sha512": SHA512()}
_CURVES: Final[dict[CurveName, ec.EllipticCurve]] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1()}
_EXPONENT: Final = 65537
_BITS: Final = range(2048, 4097)


@dataclass(frozen=True)
class RsaPublic:
    """An RSA key with the exponent 65537."""

    modulus: bytes

    def _key(self) -> rsa.RSAPublicKey:
        try:
            return rsa.RSAPublicNumbers(_EXPONENT, int.from_bytes(self.modulus, "big")).public_key()
        except ValueError as cause:
            raise FormatError("format.host_evidence", expected="an RSA key") from cause

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, as it stands in a certificate. Raises `FormatError`."""
        return self._key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify(self, scheme: SchemeName, hash_name: str, numbers: tuple[bytes, ...], signed: bytes) -> None:
        """Raise `AuthenticityError` (authenticity.host) unless the signature is this key's over these bytes."""
        hashed = _HASHES[hash_name]
        kind: padding.AsymmetricPadding = padding.PKCS1v15()
        if scheme == "rsapss":
            kind = padding.PSS(padding.MGF1(hashed), padding.PSS.AUTO)
        key = self._key()
        try:
            if len(numbers) != 1:
                raise InvalidSignature
            key.verify(numbers[0], signed, kind, hashed)
        except InvalidSignature as cause:
            raise _foreign() from cause


@dataclass(frozen=True)
class EccPublic:
    """A point on one of the two curves that TPMs sign with."""

    curve: CurveName
    x: bytes
    y: bytes

    def _key(self) -> ec.EllipticCurvePublicKey:
        try:
            return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[self.curve], b"\4" + self.x + self.y)
        except ValueError as cause:
            raise FormatError("format.host_evidence", expected=f"a point on {self.curve}") from cause

    @property
    def spki(self) -> bytes:
        """SubjectPublicKeyInfo, as it stands in a certificate. Raises `FormatError`."""
        return self._key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def verify(self, scheme: SchemeName, hash_name: str, numbers: tuple[bytes, ...], signed: bytes) -> None:
        """Raise `AuthenticityError` (authenticity.host) unless the signature is this key's over these bytes."""
        key = self._key()
        try:
            if scheme != "ecdsa" or len(numbers) != 2:
                raise InvalidSignature
            signature = encode_dss_signature(*(int.from_bytes(one, "big") for one in numbers))
            key.verify(signature, signed, ec.ECDSA(_HASHES[hash_name]))
        except InvalidSignature as cause:
            raise _foreign() from cause


TpmPublic = RsaPublic | EccPublic


def is_file_signature(spki: bytes, hash_name: str, signature: bytes, digest: bytes) -> bool:
    """Whether the key signed a file of this digest, as IMA does: RSA by PKCS #1 1.5, or ECDSA in DER."""
    try:
        key, hashed = load_der_public_key(spki), Prehashed(_FILE_HASHES[hash_name])
        if isinstance(key, rsa.RSAPublicKey) and key.key_size in _BITS:
            key.verify(signature, digest, padding.PKCS1v15(), hashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, digest, ec.ECDSA(hashed))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return False
    return True


def _foreign() -> AuthenticityError:
    return AuthenticityError("authenticity.host", expected="a signature by the attestation key that is shown")
