"""A second implementation of the formats, from docs/formats.md alone: nothing of `common` is imported (side: library).

The generator makes vectors with it, the tests open them with the code of the product, so a slip in either shows.
Fixed salts stand where the product takes random ones: never use this to seal anything.
"""

import hashlib
import hmac
import struct
from collections.abc import Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = b"cloister/v1/"
_HPKE_SUITE = b"HPKE" + struct.pack(">HHH", 0x647A, 0x0001, 0x0002)
_XWING_LABEL = rb"\.//^" + b"\\"
_MLKEM_CIPHERTEXT, _X25519_SHARE = 1088, 32


def transcript(label: bytes, *parts: bytes) -> bytes:
    """Section 1."""
    return b"".join(struct.pack(">Q", len(part)) + part for part in (label, *parts))


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), secret, "sha256")


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    blocks, block = b"", b""
    while len(blocks) < length:
        block = hmac.digest(key, block + info + bytes([len(blocks) // 32 + 1]), "sha256")
        blocks += block
    return blocks[:length]


def derive(key: bytes, label: bytes, *context: bytes) -> bytes:
    """Section 3, derived keys."""
    return _expand(_extract(b"", key), transcript(label, *context), 32)


def request_mac(common: bytes, party_share: bytes, front_share: bytes, party: bytes, base: bytes) -> bytes:
    """Section 18, request keys: of what the two X25519 shares have in common."""
    key = derive(common, PREFIX + b"request-key", party_share, front_share, party)
    return hmac.digest(key, base, "sha256")


def ring(keys: Mapping[str, bytes]) -> bytes:
    """Section 3, key ring."""
    return b"CLKR\x01" + b"".join(bytes([len(name)]) + name.encode() + keys[name] for name in sorted(keys))


def seal_blob(key: bytes, label: bytes, salt: bytes, plaintext: bytes, *aad: bytes) -> bytes:
    """Section 5."""
    cipher = AESGCM(derive(key, PREFIX + b"blob-key", label, salt))
    return b"CLBL\x01" + salt + cipher.encrypt(bytes(12), plaintext, transcript(label, *aad))


def open_wrapped(seed: bytes, wrapped: bytes, info: bytes) -> bytes:
    """Section 3, wrapping: HPKE base mode, single shot."""
    ciphertext, share = wrapped[:_MLKEM_CIPHERTEXT], wrapped[_MLKEM_CIPHERTEXT:][:_X25519_SHARE]
    x25519 = X25519PrivateKey.from_private_bytes(seed[64:])
    secrets = (
        MLKEM768PrivateKey.from_seed_bytes(seed[:64]).decapsulate(ciphertext),
        x25519.exchange(X25519PublicKey.from_public_bytes(share)),
    )
    shared = hashlib.sha3_256(
        b"".join(secrets) + share + x25519.public_key().public_bytes_raw() + _XWING_LABEL
    ).digest()

    def labeled_extract(salt: bytes, label: bytes, secret: bytes) -> bytes:
        return _extract(salt, b"HPKE-v1" + _HPKE_SUITE + label + secret)

    context = b"\x00" + labeled_extract(b"", b"psk_id_hash", b"") + labeled_extract(b"", b"info_hash", info)
    secret = labeled_extract(shared, b"secret", b"")

    def labeled_expand(label: bytes, length: int) -> bytes:
        return _expand(secret, struct.pack(">H", length) + b"HPKE-v1" + _HPKE_SUITE + label + context, length)

    sealed = wrapped[_MLKEM_CIPHERTEXT + _X25519_SHARE :]
    return AESGCM(labeled_expand(b"key", 32)).decrypt(labeled_expand(b"base_nonce", 12), sealed, None)


def shares(key: bytes, coefficients: Sequence[int], count: int) -> list[bytes]:
    """Section 3, shares: the powers one by one, where the product uses Horner."""
    prime = 2**521 - 1
    polynomial = [int.from_bytes(key, "big"), *coefficients]
    values = (
        sum(one * pow(number, power, prime) for power, one in enumerate(polynomial)) % prime
        for number in range(1, count + 1)
    )
    return [bytes([number]) + value.to_bytes(66, "big") for number, value in enumerate(values, 1)]


def share_commitment(share: bytes, *context: bytes) -> bytes:
    """Section 3, commitment to a share."""
    return hashlib.sha256(transcript(PREFIX + b"share-commitment", *context, share)).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162 section 2.1.1, as it is written there."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return hashlib.sha256(b"\x01" + merkle_root(leaves[:split]) + merkle_root(leaves[split:])).digest()


def log_leaf(number: int, parties: Sequence[bytes], entry: bytes) -> bytes:
    """Section 13, leaf of the decision log: number, tags of the parties, digest of the entry."""
    place = struct.pack(">Q", number)
    tags = sorted(hashlib.sha256(transcript(PREFIX + b"log-tag", place, party)).digest()[:16] for party in parties)
    return transcript(PREFIX + b"log-leaf", place, b"".join(tags), hashlib.sha256(entry).digest())


def listing(files: Mapping[str, bytes]) -> bytes:
    """Section 11, listing of a snapshot: name and SHA-256 of each file."""
    parts = (part for name in sorted(files) for part in (name.encode(), hashlib.sha256(files[name]).digest()))
    return transcript(b"files", *parts)


def mr_enclave(files: Mapping[str, bytes], argv: Sequence[str], environment: bytes) -> bytes:
    """Section 11, measurement."""
    arguments = transcript(b"argv", *(part.encode() for part in argv))
    return hashlib.sha256(transcript(PREFIX + b"measurement", environment, arguments, listing(files))).digest()


def door_frame(kind: int, number: int, body: bytes) -> bytes:
    """Section 8."""
    return struct.pack(">IBQ", len(body), kind, number) + body


def named(name: bytes, content: bytes) -> bytes:
    """Section 8, body of a request or notice."""
    return bytes([len(name)]) + name + content


def model_file(salt: bytes, safetensors: bytes) -> bytes:
    """Section 10."""
    return b"CLMF\x01\x00\x00\x00" + salt + safetensors
