"""A TPM's keys as its peer uses them: a secret for its endorsement key, a signature of its attestation key (side:
library).

`make_credential` is TPM 2.0 Library Part 1, "Credential Protection", and its annex on ECC for a key on P-256,
`make_rsa_credential` the same with its annex on RSA: only the TPM
that holds the endorsement key *and* a key with that Name gets the secret out (TPM2_ActivateCredential). The Name is
a digest over the whole public area, so whoever knows the secret has shown where that key lives and what it may do.
"""

import hmac
import secrets
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from common.crypto.digests import sha256_raw, transcript
from common.crypto.keys import HiddenKey
from common.crypto.labels import TPM_ACTIVATION
from common.errors import AuthenticityError, FormatError, FreshnessError

_COORDINATE_BYTES: Final = 32
_IDENTITY: Final = b"IDENTITY\0"


def verify_ecdsa(x: bytes, y: bytes, signature: tuple[int, int], signed: bytes) -> None:
    """Raise `AuthenticityError` (authenticity.tpm) unless (r, s) is the key's over SHA-256 of these exact bytes."""
    try:
        _public(x, y).verify(encode_dss_signature(*signature), signed, ec.ECDSA(SHA256()))
    except InvalidSignature as cause:
        raise AuthenticityError("authenticity.tpm", expected="a signature by the TPM's attestation key") from cause


class Activations(HiddenKey):
    """What each TPM gets out of its credentials, by the Names of its keys: as long as this object lives, the same.

    It is derived and not remembered, so that a stranger who asks in another's name changes nothing.
    """

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def secret(self, endorsement_name: bytes, attestation_name: bytes) -> bytes:
        """32 bytes; the caller puts them into a credential in the same expression."""
        return hmac.digest(self._key, transcript(TPM_ACTIVATION, endorsement_name, attestation_name), "sha256")

    def require(self, shown: bytes, endorsement_name: bytes, attestation_name: bytes) -> None:
        """Raise `FreshnessError` (freshness.challenge) unless it was read out of such a credential."""
        if not hmac.compare_digest(shown, self.secret(endorsement_name, attestation_name)):
            raise FreshnessError("freshness.challenge", expected="the secret of this boot's credential")


def make_credential(x: bytes, y: bytes, name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """`secret` for the TPM of this endorsement key, if it also holds the key of this Name.

    Returns contents of a TPM2B_ID_OBJECT and of a TPM2B_ENCRYPTED_SECRET. Raises `FormatError` for no point on P-256.
    """
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    own = ephemeral.public_key().public_numbers()
    own_x, own_y = (one.to_bytes(_COORDINATE_BYTES, "big") for one in (own.x, own.y))
    shared = ephemeral.exchange(ec.ECDH(), _public(x, y))
    seed = sha256_raw(b"\0\0\0\1" + shared + _IDENTITY + own_x + x)  # KDFe
    return _hidden(seed, name, secret), _sized(own_x) + _sized(own_y)


def make_rsa_credential(modulus: bytes, name: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """The same for an endorsement key that is RSA: the seed goes by OAEP. Raises `FormatError` for no such key."""
    seed = secrets.token_bytes(32)
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), _IDENTITY)
    try:
        key = rsa.RSAPublicNumbers(65537, int.from_bytes(modulus, "big")).public_key()
        return _hidden(seed, name, secret), key.encrypt(seed, oaep)
    except ValueError as cause:
        raise FormatError("format.message", expected="an RSA key") from cause


def _hidden(seed: bytes, name: bytes, secret: bytes) -> bytes:
    """Content of the TPM2B_ID_OBJECT under a seed."""
    cipher = Cipher(AES128(_kdfa(seed, b"STORAGE", name, 128)), CFB(bytes(16))).encryptor()
    hidden = cipher.update(_sized(secret)) + cipher.finalize()
    integrity = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), hidden + name, "sha256")
    return _sized(integrity) + hidden


def public_pem(x: bytes, y: bytes) -> str:
    """The point as SubjectPublicKeyInfo, as it stands in a vendor's certificate."""
    return _public(x, y).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa (Part 1; SP 800-108 in counter mode) with HMAC-SHA-256, for at most one block."""
    block = b"\0\0\0\1" + label + b"\0" + context + bits.to_bytes(4, "big")
    return hmac.digest(key, block, "sha256")[: bits // 8]


def _public(x: bytes, y: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + x + y)
    except ValueError as cause:
        raise FormatError("format.message", expected="a point on P-256") from cause


def _sized(raw: bytes) -> bytes:
    return len(raw).to_bytes(2, "big") + raw
