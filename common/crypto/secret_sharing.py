"""Shamir's secret sharing: a key in n shares, of which any m give it back and fewer say nothing (side: library).

A. Shamir, How to Share a Secret, CACM 22 (1979), 612-613. A random polynomial of degree m - 1 over the integers modulo
P has the key as its value at 0; share number x is its value there, and m values determine it (Lagrange). P = 2^521 - 1
is prime (R. M. Robinson, Proc. AMS 5 (1954), 842-846) and larger than any key, so a key is an element as it is, and
what comes of wrong shares is nearly never a key. There is no well-kept library with keys of 32 bytes for it.

Encoded share: number (1), value (66, big-endian). Whether a share is the right one, its `commitment` tells, which says
nothing about the value: that is uniformly random.
"""

import secrets
from collections.abc import Sequence
from typing import Final, Self

from common.crypto.digests import sha256_raw, transcript
from common.crypto.keys import KEY_BYTES, HiddenKey, SecretKey
from common.crypto.labels import SHARE_COMMITMENT
from common.crypto.wrapping import WrappingKey, wrap
from common.errors import AuthenticityError

MAX_SHARES: Final = 15
MIN_NEEDED: Final = 2

_P: Final = (1 << 521) - 1
_VALUE_BYTES: Final = 66
_CODE: Final = "authenticity.recovery_share"


class SecretShare(HiddenKey):
    """One share of one key; `number` is public."""

    __slots__ = ("_value", "number")

    def __init__(self, number: int, value: int) -> None:
        self.number, self._value = number, value

    def wrap(self, public: bytes, info: bytes) -> bytes:
        """The share for the holder of `public` alone."""
        return wrap(self._encoded(), public, info)

    @classmethod
    def unwrap(cls, key: WrappingKey, wrapped: bytes, info: bytes) -> Self:
        """A share that was wrapped to this key under this `info`. Raises `AuthenticityError`."""
        raw = key.open(wrapped, info)
        number, value = raw[0] if raw else 0, int.from_bytes(raw[1:], "big")
        if len(raw) != 1 + _VALUE_BYTES or not 1 <= number <= MAX_SHARES or value >= _P:
            raise AuthenticityError(_CODE, expected="a share")
        return cls(number, value)

    def commitment(self, *context: bytes) -> bytes:
        """32 bytes that only this share has, in this context."""
        return sha256_raw(transcript(SHARE_COMMITMENT, *context, self._encoded()))

    def _encoded(self) -> bytes:
        return bytes([self.number]) + self._value.to_bytes(_VALUE_BYTES, "big")


def split(key: SecretKey, needed: int, count: int) -> tuple[SecretShare, ...]:
    """`count` shares of a key, numbered from 1, of which any `needed` join to it."""
    if not MIN_NEEDED <= needed <= count <= MAX_SHARES:
        raise ValueError(f"{MIN_NEEDED} to {MAX_SHARES} shares, and no more needed than there are")
    secret = int.from_bytes(key._raw, "big")  # noqa: SLF001 - this module is one of those that use keys
    coefficients = [secret, *(secrets.randbelow(_P) for _ in range(needed - 1))]
    return tuple(SecretShare(number, _value_at(coefficients, number)) for number in range(1, count + 1))


def join(shares: Sequence[SecretShare]) -> SecretKey:
    """The key of which these are enough shares. Raises `AuthenticityError` when they are seen not to be.

    Too few, or one that is not of this key, mostly raise; if not, what comes out is another key, which opens nothing.
    """
    numbers = [one.number for one in shares]
    if len(numbers) < MIN_NEEDED or len(set(numbers)) != len(numbers):
        raise AuthenticityError(_CODE, expected="different shares, two or more", seen=len(set(numbers)))
    secret = sum(one._value * _weight(one.number, numbers) for one in shares) % _P  # noqa: SLF001 - our own
    if secret >> 8 * KEY_BYTES:
        raise AuthenticityError(_CODE, expected="enough shares of one key")
    return SecretKey(secret.to_bytes(KEY_BYTES, "big"))


def _value_at(coefficients: Sequence[int], number: int) -> int:
    """The polynomial's value (Horner)."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * number + coefficient) % _P
    return value


def _weight(number: int, numbers: Sequence[int]) -> int:
    """Lagrange's basis polynomial of this number, at 0."""
    above, below = 1, 1
    for other in numbers:
        if other != number:
            above, below = above * other % _P, below * (other - number) % _P
    return above * pow(below, -1, _P) % _P
