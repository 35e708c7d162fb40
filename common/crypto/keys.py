"""Symmetric keys as objects, and the ring of named keys that travels wrapped (side: library)."""

import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from common.crypto.digests import transcript
from common.errors import FormatError

KEY_BYTES: Final = 32
"""AES-256 and HKDF-SHA-256 keys."""


class HiddenKey:
    """What all key objects share: no text form, no pickling, constant-time equality is up to the subclass."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> NoReturn:
        raise RuntimeError("a key is never pickled or copied: wrap or seal it")


class SecretKey(HiddenKey):
    """32 secret bytes from which others are derived."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_BYTES:
            raise FormatError("format.message", expected=f"a key of {KEY_BYTES} bytes")
        self._raw = bytes(raw)

    @classmethod
    def generate(cls) -> Self:
        """A fresh random key."""
        return cls(secrets.token_bytes(KEY_BYTES))

    def derive(self, label: bytes, *context: bytes) -> "SecretKey":
        """HKDF-SHA-256 (RFC 5869), no salt, info = transcript(label, *context)."""
        hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=transcript(label, *context))
        return SecretKey(hkdf.derive(self._raw))

    def derive_number(self, label: bytes, *context: bytes) -> int:
        """64 bits that seed a generator of shuffles or initial weights; no key, and protects nothing."""
        return int.from_bytes(self.derive(label, *context)._raw[:8], "big")  # noqa: SLF001 - one of our own

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretKey) and hmac.compare_digest(self._raw, other._raw)

    def __hash__(self) -> int:
        raise TypeError("a key is not hashable")


def derive_from_hardware(raw: bytes, label: bytes, *context: bytes) -> SecretKey:
    """A key from what a processor gives (EGETKEY's 128 bits): HKDF-SHA-256, info = transcript(label, *context)."""
    info = transcript(label, *context)
    return SecretKey(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(raw))


_RING_MAGIC: Final = b"CLKR\x01"


class KeyRing(HiddenKey, Mapping[str, SecretKey]):
    """Named keys. Encoded only by the functions of common/crypto that wrap or seal it at once.

    Layout: magic `CLKR` 01, then for each key in order of its name: name length (1 byte), name (ASCII), 32 bytes.
    """

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, SecretKey]) -> None:
        self._keys = dict(sorted(keys.items()))

    def __getitem__(self, name: str) -> SecretKey:
        return self._keys[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def encode_for_wrapping(self) -> bytes:
        """Plain bytes; only common/crypto calls this, and hands them to an AEAD in the same expression."""
        body = b"".join(
            bytes([len(name)]) + name.encode("ascii") + key._raw  # noqa: SLF001 - the ring is the keys' own container
            for name, key in self._keys.items()
        )
        return _RING_MAGIC + body

    @classmethod
    def decode_unwrapped(cls, plain: bytes) -> Self:
        """Parse what was opened. Refuses disorder, duplicates and trailing bytes with `FormatError`."""
        if plain[: len(_RING_MAGIC)] != _RING_MAGIC:
            raise FormatError("format.message", expected="a key ring of version 1")
        keys: dict[str, SecretKey] = {}
        last, at = "", len(_RING_MAGIC)
        while at < len(plain):
            name_end = at + 1 + plain[at]
            name = plain[at + 1 : name_end].decode("ascii", errors="replace")
            if not name.isascii() or name <= last or name_end + KEY_BYTES > len(plain):
                raise FormatError("format.message", expected="a canonical key ring")
            keys[name] = SecretKey(plain[name_end : name_end + KEY_BYTES])
            last, at = name, name_end + KEY_BYTES
        return cls(keys)
