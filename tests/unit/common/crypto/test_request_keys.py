"""Request keys: both sides make the same one, nobody else does, and it is that of docs/formats.md."""

import copy

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from common.crypto.request_keys import RequestKeyShare
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError, FormatError
from common.identifiers import PartyKey, RequestKeyId
from tests.vectors import independent

PARTY = SigningKey.generate().party
NAME = RequestKeyId.new()
BASE = b'"@method": POST'


def test_both_sides_make_the_same_key() -> None:
    party, front = RequestKeyShare.generate(), RequestKeyShare.generate()
    mac = party.agree_as_party(front.public, PARTY, NAME).sign_http(BASE)
    front.agree_as_front(party.public, PARTY, NAME).verify_http(mac, BASE)


def test_the_key_is_the_documented_one() -> None:
    """By the second implementation: HKDF-SHA-256 written out, over X25519 from the raw private values."""
    mine, theirs = bytes(range(1, 33)), bytes(range(33, 65))
    share = RequestKeyShare(X25519PrivateKey.from_private_bytes(mine))
    other = X25519PrivateKey.from_private_bytes(theirs).public_key().public_bytes_raw()
    common = X25519PrivateKey.from_private_bytes(theirs).exchange(X25519PublicKey.from_public_bytes(share.public))
    expected = independent.request_mac(common, share.public, other, PARTY.raw(), BASE)
    assert share.agree_as_party(other, PARTY, NAME).sign_http(BASE) == expected
    assert len(expected) == 32


def test_another_party_share_or_side_has_another_key() -> None:
    party, front, foreign = (RequestKeyShare.generate() for _ in range(3))
    mac = party.agree_as_party(front.public, PARTY, NAME).sign_http(BASE)
    for key in (
        front.agree_as_front(party.public, SigningKey.generate().party, NAME),
        front.agree_as_front(foreign.public, PARTY, NAME),
        foreign.agree_as_front(party.public, PARTY, NAME),
        front.agree_as_party(party.public, PARTY, NAME),
    ):
        with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
            key.verify_http(mac, BASE)


def test_whoever_sits_between_has_a_key_with_one_side_and_none_with_the_other() -> None:
    party, front, between = (RequestKeyShare.generate() for _ in range(3))
    theirs = party.agree_as_party(between.public, PARTY, NAME)
    between.agree_as_front(party.public, PARTY, NAME).verify_http(theirs.sign_http(BASE), BASE)
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        front.agree_as_front(party.public, PARTY, NAME).verify_http(theirs.sign_http(BASE), BASE)


@pytest.mark.parametrize("share", [b"", bytes(31), bytes(33), bytes(32), b"\x01" + bytes(31)])
def test_a_share_that_is_none_or_of_low_order_is_refused(share: bytes) -> None:
    with pytest.raises(FormatError, match=r"format\.message"):
        RequestKeyShare.generate().agree_as_front(share, PARTY, NAME)


@pytest.mark.parametrize("mac", [b"", bytes(32), bytes(31), bytes(64)])
def test_another_mac_is_refused(mac: bytes) -> None:
    key = RequestKeyShare.generate().agree_as_front(RequestKeyShare.generate().public, PARTY, NAME)
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        key.verify_http(mac, BASE)
    with pytest.raises(AuthenticityError, match=r"authenticity\.http_signature"):
        key.verify_http(key.sign_http(BASE), BASE + b" ")


def test_keys_and_shares_hide_themselves() -> None:
    share = RequestKeyShare.generate()
    key = share.agree_as_front(RequestKeyShare.generate().public, PartyKey("0" * 64), NAME)
    for one in (share, key):
        assert repr(one) == f"<{type(one).__name__}>"
        with pytest.raises(RuntimeError):
            copy.copy(one)
