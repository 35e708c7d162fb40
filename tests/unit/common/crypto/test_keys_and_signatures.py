"""Keys hide themselves, signatures and wrappings open only for what they were made for."""

import copy
import json
import pickle  # noqa: TID251 - only to see that a key refuses it
from pathlib import Path

import pytest

from common.crypto import KeyRing, SecretKey, SigningKey, WrappingKey, transcript, verify_signature, wrap
from common.crypto.key_file import Identity
from common.crypto.wrapping import WRAPPING_OVERHEAD, wrap_ring
from common.errors import AuthenticityError, FormatError


def test_transcript_is_injective_over_part_boundaries() -> None:
    assert transcript(b"l", b"ab", b"c") != transcript(b"l", b"a", b"bc")
    assert transcript(b"l", b"ab") != transcript(b"l", b"ab", b"")
    assert transcript(b"la", b"b") != transcript(b"l", b"ab")


@pytest.mark.parametrize("key", [SecretKey.generate(), SigningKey.generate(), WrappingKey.generate(), KeyRing({})])
def test_keys_neither_print_nor_pickle_nor_copy(key: object) -> None:
    assert repr(key) == f"<{type(key).__name__}>"
    with pytest.raises(RuntimeError):
        pickle.dumps(key)
    with pytest.raises(RuntimeError):
        copy.copy(key)


def test_derived_keys_differ_by_label_and_context() -> None:
    key = SecretKey(bytes(32))
    derived = [key.derive(b"a", b"x"), key.derive(b"a", b"y"), key.derive(b"b", b"x"), key.derive(b"a", b"x", b"")]
    assert all(one != other for i, one in enumerate(derived) for other in derived[:i])
    assert key.derive(b"a", b"x") == derived[0]


def test_signature_holds_for_label_parts_and_party_only() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    signature = key.sign(b"label", b"part")
    verify_signature(key.party, signature, b"label", b"part")
    for party, label, parts in (
        (other.party, b"label", (b"part",)),
        (key.party, b"labe1", (b"part",)),
        (key.party, b"label", (b"part", b"")),
    ):
        with pytest.raises(AuthenticityError):
            verify_signature(party, signature, label, *parts)


def test_wrapped_value_opens_for_its_key_and_info_only() -> None:
    key, other = WrappingKey.generate(), WrappingKey.generate()
    wrapped = wrap(b"secret", key.public, b"info")
    assert len(wrapped) == len(b"secret") + WRAPPING_OVERHEAD
    assert key.open(wrapped, b"info") == b"secret"
    for opener, info, value in ((other, b"info", wrapped), (key, b"else", wrapped), (key, b"info", wrapped[:-1])):
        with pytest.raises(AuthenticityError):
            opener.open(value, info)


def test_a_malformed_public_key_is_a_format_error() -> None:
    with pytest.raises(FormatError):
        wrap(b"secret", b"\x00" * 12, b"info")
    with pytest.raises(FormatError, match="format.message"):
        wrap(b"secret", WrappingKey.generate().public[:-32] + bytes(32), b"info")  # X25519 of low order


def test_key_ring_round_trip_and_canonical_form() -> None:
    key = WrappingKey.generate()
    ring = KeyRing({"seed": SecretKey.generate(), "job": SecretKey.generate()})
    opened = key.open_ring(wrap_ring(ring, key.public, b"i"), b"i")
    assert list(opened) == ["job", "seed"]
    assert opened["job"] == ring["job"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw + b"\x00",
        lambda raw: raw[:5] + raw[5 + 36 :] + raw[5 : 5 + 36],
        lambda raw: b"CLKR\x02" + raw[5:],
    ],
    ids=["truncated", "trailing", "unsorted", "version"],
)
def test_key_ring_refuses_other_forms(damage: object) -> None:
    ring = KeyRing({"abc": SecretKey.generate(), "abd": SecretKey.generate()})
    with pytest.raises(FormatError):
        KeyRing.decode_unwrapped(damage(ring.encode_for_wrapping()))  # type: ignore[operator]


def test_identity_file_round_trip_and_permissions(tmp_path: Path) -> None:
    identity, path = Identity.generate("owner", unsafe_simulation=True), tmp_path / "keys" / "identity.json"
    identity.write(path)
    again = Identity.read(path)
    assert again.signing_key.party == identity.signing_key.party
    assert again.report_key.public == identity.report_key.public
    assert again.unsafe_simulation
    with pytest.raises(FileExistsError):
        identity.write(path)
    path.chmod(0o640)
    with pytest.raises(FormatError, match="format.message"):
        Identity.read(path)
    (tmp_path / "other.json").write_text(json.dumps({"type": "x"}))
    (tmp_path / "other.json").chmod(0o600)
    with pytest.raises(FormatError):
        Identity.read(tmp_path / "other.json")
