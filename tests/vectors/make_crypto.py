"""Vectors of transcripts, keys, signatures, blobs and Merkle roots (side: library)."""

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.vectors import independent
from tests.vectors.independent import PREFIX
from tests.vectors.vector_file import VectorFile, changed

KEY, OTHER_KEY, SALT = bytes(range(32)), bytes(32), bytes(range(100, 132))
FORMAT, SIGNATURE, BLOB = "format.message", "authenticity.signature", "authenticity.wrapped_key"


def crypto_files() -> Iterator[VectorFile]:
    """All files of tests/vectors/crypto that are deterministic."""
    yield _transcripts()
    yield _derived_keys()
    yield _rings()
    yield _signatures()
    yield _blobs()
    yield _merkle_roots()
    yield _shares()


def _transcripts() -> VectorFile:
    file = VectorFile("crypto/transcripts.json", "transcript", 1)
    for name, parts in {
        "label alone": (),
        "two parts": (b"ab", b"c"),
        "the same bytes, cut elsewhere": (b"a", b"bc"),
        "an empty part": (b"ab", b"", b"c"),
    }.items():
        file.add(name, label=b"label", parts=parts, transcript=independent.transcript(b"label", *parts))
    return file


def _derived_keys() -> VectorFile:
    file = VectorFile("crypto/derived_keys.json", "derived key", 3)
    for name, context in {"no context": (), "one part": (b"context",), "two parts": (b"con", b"text")}.items():
        label = PREFIX + b"query-key"
        derived = independent.derive(KEY, label, *context)
        file.add(
            name, key=KEY, label=label, context=context, derived=derived, number=int.from_bytes(derived[:8], "big")
        )
    return file


def _rings() -> VectorFile:
    file = VectorFile("crypto/rings.json", "key ring", 3)
    keys = {"job": KEY, "bundle": OTHER_KEY, "data/data_" + "0" * 32: SALT}
    good = independent.ring(keys)
    first, rest = independent.ring({"a": KEY}), independent.ring({"b": OTHER_KEY})[5:]
    file.add("three keys", ring=good, keys=dict(sorted(keys.items())))
    file.add("empty", ring=independent.ring({}), keys={})
    file.add("reordered", FORMAT, ring=good[:5] + rest + first[5:])
    file.add("doubled name", FORMAT, ring=first + first[5:])
    file.add("empty name", FORMAT, ring=good[:5] + b"\0" + KEY)
    file.add("name that is not ASCII", FORMAT, ring=good[:5] + b"\x01\xe9" + KEY)
    file.add("truncated", FORMAT, ring=good[:-1])
    file.add("trailing byte", FORMAT, ring=good + b"\0")
    file.add("unknown version", FORMAT, ring=changed(good, 4))
    return file


def _signatures() -> VectorFile:
    file = VectorFile("crypto/signatures.json", "signature", 3)
    private = Ed25519PrivateKey.from_private_bytes(KEY)
    other = Ed25519PrivateKey.from_private_bytes(OTHER_KEY).public_key().public_bytes_raw()
    label, parts = PREFIX + b"launch-statement", (b"complete-job", b"", b"finished")
    fields: dict[str, Any] = {
        "seed": KEY,
        "party": private.public_key().public_bytes_raw(),
        "label": label,
        "parts": parts,
        "signature": private.sign(independent.transcript(label, *parts)),
    }
    file.add("good", **fields)
    file.add("wrong key", SIGNATURE, **fields | {"party": other})
    file.add("another label", SIGNATURE, **fields | {"label": PREFIX + b"session-open"})
    file.add("parts cut elsewhere", SIGNATURE, **fields | {"parts": (b"complete-jo", b"b", b"finished")})
    file.add("changed signature", SIGNATURE, **fields | {"signature": changed(fields["signature"], 0)})
    file.add("truncated signature", SIGNATURE, **fields | {"signature": fields["signature"][:-1]})
    return file


def _blobs() -> VectorFile:
    file = VectorFile("crypto/blobs.json", "blob", 5)
    label, plaintext, aad = PREFIX + b"sealed-state", b"a small message", (b"one", b"two")
    blob = independent.seal_blob(KEY, label, SALT, plaintext, *aad)
    fields: dict[str, Any] = {"key": KEY, "label": label, "aad": aad, "blob": blob}
    file.add("good", plaintext=plaintext, **fields)
    file.add("empty", plaintext=b"", **fields | {"blob": independent.seal_blob(KEY, label, SALT, b"", *aad)})
    file.add("wrong key", BLOB, **fields | {"key": OTHER_KEY})
    file.add("another label", BLOB, **fields | {"label": PREFIX + b"record-keys"})
    file.add("another aad", BLOB, **fields | {"aad": (b"onet", b"wo")})
    file.add("changed salt", BLOB, **fields | {"blob": changed(blob, 5)})
    file.add("truncated", BLOB, **fields | {"blob": blob[:-1]})
    file.add("too short", BLOB, **fields | {"blob": blob[:20]})
    file.add("trailing byte", BLOB, **fields | {"blob": blob + b"\0"})
    file.add("unknown version", BLOB, **fields | {"blob": changed(blob, 4)})
    return file


def _merkle_roots() -> VectorFile:
    file = VectorFile("crypto/merkle_roots.json", "Merkle root", 3)
    for count in (0, 1, 2, 3, 5, 8, 13):
        leaves = [bytes([number]) * number for number in range(count)]
        file.add(f"{count} leaves", leaves=leaves, root=independent.merkle_root(leaves))
    return file


def _shares() -> VectorFile:
    file = VectorFile("crypto/shares.json", "shares of a key", 3)
    context = (b"one", b"two")

    def add(name: str, key: bytes, shares: list[bytes]) -> None:
        commitments = [independent.share_commitment(share, *context) for share in shares]
        file.add(name, key=key, shares=shares, context=context, commitments=commitments)

    line, curve = independent.shares(KEY, [7], 3), independent.shares(SALT, [2**520 + 1, 2**519], 5)
    add("two of three, all", KEY, line)
    add("two of three, first and last", KEY, line[::2])
    add("two of three, the other way round", KEY, line[2:0:-1])
    add("three of five", SALT, curve[1:4])
    add("three of five, another three", SALT, [curve[4], curve[0], curve[2]])
    add("a key of zeros", OTHER_KEY, independent.shares(OTHER_KEY, [2**521 - 2], 2))
    wrong = "authenticity.recovery_share"
    file.add("one alone", wrong, shares=line[:1])
    file.add("one twice", wrong, shares=[line[0], line[0]])
    file.add("two numbers of one", wrong, shares=[line[0], line[1], line[0]])
    file.add("too few", wrong, shares=curve[:2])
    file.add("of two keys", wrong, shares=[line[0], curve[1]])
    return file
