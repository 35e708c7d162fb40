"""The product opens what the second implementation made, byte for byte, and refuses every spoilt copy."""

from typing import Any

import pytest

from client.context import _own_key_info
from common import key_binding
from common.crypto.aead import open_blob
from common.crypto.digests import transcript
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.merkle import merkle_root
from common.crypto.secret_sharing import SecretShare, join
from common.crypto.signing import SigningKey, verify_signature
from common.crypto.wrapping import WrappingKey
from common.errors import Refusal
from common.identifiers import DatasetId, Digest, JobId, PartyKey
from common.query_sealing import session_info
from tests.vectors import independent
from tests.vectors.each_vector import each_vector
from tests.vectors.vector_file import OPENS

Vector = dict[str, Any]


def _bytes(vector: Vector, name: str) -> list[bytes]:
    return [bytes.fromhex(part) for part in vector[name]]


@each_vector("crypto/transcripts.json")
def test_transcripts(vector: Vector) -> None:
    assert transcript(bytes.fromhex(vector["label"]), *_bytes(vector, "parts")).hex() == vector["transcript"]


@each_vector("crypto/derived_keys.json")
def test_derived_keys(vector: Vector) -> None:
    key, label = SecretKey(bytes.fromhex(vector["key"])), bytes.fromhex(vector["label"])
    assert key.derive(label, *_bytes(vector, "context")) == SecretKey(bytes.fromhex(vector["derived"]))
    assert key.derive_number(label, *_bytes(vector, "context")) == vector["number"]


@each_vector("crypto/rings.json")
def test_rings(vector: Vector) -> None:
    raw = bytes.fromhex(vector["ring"])
    if vector["outcome"] == OPENS:
        ring = KeyRing.decode_unwrapped(raw)
        assert ring == {name: SecretKey(bytes.fromhex(key)) for name, key in vector["keys"].items()}
        assert ring.encode_for_wrapping() == raw
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            KeyRing.decode_unwrapped(raw)


@each_vector("crypto/signatures.json")
def test_signatures(vector: Vector) -> None:
    label, parts = bytes.fromhex(vector["label"]), _bytes(vector, "parts")
    party, signature = PartyKey(vector["party"]), bytes.fromhex(vector["signature"])
    if vector["outcome"] == OPENS:
        verify_signature(party, signature, label, *parts)
        assert SigningKey.from_seed(bytes.fromhex(vector["seed"])).sign(label, *parts) == signature
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            verify_signature(party, signature, label, *parts)


@each_vector("crypto/blobs.json")
def test_blobs(vector: Vector) -> None:
    key, label = SecretKey(bytes.fromhex(vector["key"])), bytes.fromhex(vector["label"])
    blob, aad = bytes.fromhex(vector["blob"]), _bytes(vector, "aad")
    if vector["outcome"] == OPENS:
        assert open_blob(key, label, blob, *aad).hex() == vector["plaintext"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            open_blob(key, label, blob, *aad)


@each_vector("crypto/merkle_roots.json")
def test_merkle_roots(vector: Vector) -> None:
    assert merkle_root(_bytes(vector, "leaves")) == vector["root"]


@each_vector("crypto/shares.json")
def test_shares(vector: Vector) -> None:
    shares = [SecretShare(share[0], int.from_bytes(share[1:], "big")) for share in _bytes(vector, "shares")]
    if vector["outcome"] == OPENS:
        assert join(shares) == SecretKey(bytes.fromhex(vector["key"]))
        context = _bytes(vector, "context")
        assert [one.commitment(*context).hex() for one in shares] == vector["commitments"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            join(shares)


INFOS = {
    "data key": lambda one: key_binding.data_key_info(
        Digest(one["manifest"]), PartyKey(one["owner"]), Digest(one["policy"]), Digest(one["broker"])
    ),
    "bundle key": lambda one: key_binding.bundle_key_info(
        Digest(one["publication"]), PartyKey(one["provider"]), Digest(one["terms"]), Digest(one["broker"])
    ),
    "policy": lambda one: key_binding.policy_info(PartyKey(one["party"]), Digest(one["policy"]), Digest(one["broker"])),
    "order secret": lambda one: key_binding.order_secret_info(
        bytes.fromhex(one["nonce"]), PartyKey(one["owner"]), PartyKey(one["broker"])
    ),
    "key grant": lambda one: key_binding.key_grant_info(bytes.fromhex(one["report_data"])),
    "report": lambda one: key_binding.report_info(Digest(one["order"]), PartyKey(one["owner"]), one["sequence"]),
    "provider report": lambda one: key_binding.provider_report_info(
        JobId(bytes.fromhex(one["job"]).decode()), PartyKey(one["provider"])
    ),
    "session": lambda one: session_info(
        bytes.fromhex(one["report_data"]), Digest(one["manifest"]), Digest(one["placement"])
    ),
    "own key": lambda one: _own_key_info(Digest(one["root"])),
    "refusal detail": lambda one: key_binding.refusal_detail_info(Digest(one["request"]), PartyKey(one["party"])),
    "ledger": lambda one: key_binding.ledger_info(Digest(one["request"]), PartyKey(one["party"])),
    "held share": lambda one: key_binding.held_share_info(
        Digest(one["broker"]), DatasetId(bytes.fromhex(one["dataset"]).decode()), Digest(one["policy"]),
        one["policy_version"], one["epoch"], PartyKey(one["holder"]),
    ),
    "given share": lambda one: key_binding.given_share_info(
        Digest(one["package"]), Digest(one["successor"]), one["epoch"], bytes.fromhex(one["boot_nonce"]),
        PartyKey(one["holder"]),
    ),
}  # fmt: skip


@each_vector("crypto/wrapped.json")
def test_wrapped(vector: Vector) -> None:
    seed, wrapped = bytes.fromhex(vector["seed"]), bytes.fromhex(vector["wrapped"])
    info = INFOS[vector["binding"]](vector["bound"])
    key = WrappingKey(seed)
    if vector["outcome"] == OPENS:
        assert info.hex() == vector["info"]
        assert key.open(wrapped, info).hex() == vector["plaintext"]
        assert independent.open_wrapped(seed, wrapped, info).hex() == vector["plaintext"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            key.open(wrapped, info)
