"""Shares of a key: any enough of them give it back, and they are key objects like others."""

import itertools
import pickle  # noqa: TID251 - only to see that a share refuses it

import pytest

from common.crypto.keys import SecretKey
from common.crypto.secret_sharing import MAX_SHARES, SecretShare, join, split
from common.crypto.wrapping import WrappingKey, wrap
from common.errors import AuthenticityError


def test_any_enough_of_them_join() -> None:
    key = SecretKey.generate()
    for shares in itertools.combinations(split(key, 3, 5), 3):
        assert join(shares) == key
    assert join(split(key, 15, MAX_SHARES)) == key


def test_one_fewer_is_consistent_with_every_key() -> None:
    """For any key there is a last share with which the others join to it: they say nothing."""
    one, other = SecretKey.generate(), SecretKey.generate()
    first = split(one, 2, 2)[0]
    wanted = int.from_bytes(other._raw, "big")  # of the line through (0, wanted) and (1, first): its value at 2
    missing = (2 * first._value - wanted) % ((1 << 521) - 1)
    assert join([first, SecretShare(2, missing)]) == other


def test_each_split_is_another() -> None:
    key = SecretKey(bytes(32))
    assert split(key, 2, 2)[0].commitment() != split(key, 2, 2)[0].commitment()


@pytest.mark.parametrize(("needed", "count"), [(1, 3), (0, 3), (4, 3), (2, 16)])
def test_what_would_share_nothing_is_a_mistake(needed: int, count: int) -> None:
    with pytest.raises(ValueError, match="shares"):
        split(SecretKey.generate(), needed, count)


def test_it_travels_wrapped_and_never_otherwise() -> None:
    share, holder = split(SecretKey.generate(), 2, 3)[1], WrappingKey.generate()
    back = SecretShare.unwrap(holder, share.wrap(holder.public, b"info"), b"info")
    assert (back.number, back.commitment(b"a")) == (2, share.commitment(b"a"))
    assert back.commitment(b"b") != share.commitment(b"a")
    assert repr(share) == "<SecretShare>"
    with pytest.raises(RuntimeError):
        pickle.dumps(share)
    with pytest.raises(AuthenticityError):
        SecretShare.unwrap(holder, share.wrap(holder.public, b"info"), b"another")


@pytest.mark.parametrize("raw", [b"", b"\x01", b"\x00" + bytes(66), b"\x10" + bytes(66), b"\x01" + b"\xff" * 66])
def test_what_is_no_share_is_refused(raw: bytes) -> None:
    holder = WrappingKey.generate()
    with pytest.raises(AuthenticityError, match=r"authenticity\.recovery_share"):
        SecretShare.unwrap(holder, wrap(raw, holder.public, b""), b"")
