"""What a session key, a query and an answer are bound to; golden vectors pin the bytes."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.crypto.keys import SecretKey
from common.crypto.wrapping import WrappingKey
from common.errors import AuthenticityError, FormatError, Refusal
from common.identifiers import Digest, SessionId
from common.query_sealing import SessionCipher, session_info, unwrap_session_key, wrap_session_key

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "query" / "queries.json").read_text()
)["vectors"]
KEY, SESSION, MANIFEST = SecretKey(bytes(range(32))), SessionId("session_" + "ab" * 16), Digest("cd" * 32)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_vectors(vector: dict[str, Any]) -> None:
    cipher = SessionCipher(
        SecretKey(bytes.fromhex(vector["session_key"])), SessionId(vector["session_id"]), Digest(vector["manifest"])
    )
    query, answer = bytes.fromhex(vector["query"]), bytes.fromhex(vector["answer"])
    if vector["outcome"] == "opens":
        assert cipher.open_query(query).hex() == vector["question"]
        assert cipher.open_answer(query, answer).hex() == vector["result"]
    else:
        with pytest.raises(Refusal, match=vector["outcome"]):
            cipher.open_query(query)
        with pytest.raises(Refusal, match=vector["outcome"]):
            cipher.open_answer(query, answer)


@pytest.mark.parametrize(
    "other",
    [
        SessionCipher(SecretKey.generate(), SESSION, MANIFEST),
        SessionCipher(KEY, SessionId("session_" + "ac" * 16), MANIFEST),
        SessionCipher(KEY, SESSION, Digest("ce" * 32)),
    ],
)
def test_another_key_session_or_model_opens_nothing(other: SessionCipher) -> None:
    own = SessionCipher(KEY, SESSION, MANIFEST)
    query = own.seal_query(3, b"question")
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        other.open_query(query)
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        other.open_answer(query, own.seal_answer(query, b"answer"))


def test_an_answer_is_bound_to_its_query() -> None:
    cipher = SessionCipher(KEY, SESSION, MANIFEST)
    first, again = cipher.seal_query(3, b"question"), cipher.seal_query(3, b"question")
    assert first != again
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        cipher.open_answer(again, cipher.seal_answer(first, b"answer"))


def test_a_query_is_no_answer_and_an_answer_no_query() -> None:
    cipher = SessionCipher(KEY, SESSION, MANIFEST)
    query = cipher.seal_query(3, b"question")
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        cipher.open_answer(query, query)
    with pytest.raises(AuthenticityError, match=r"authenticity\.query"):
        cipher.open_query(cipher.seal_answer(query, b"answer"))


def test_a_session_key_opens_for_its_launch_under_its_info_only() -> None:
    launch, info = WrappingKey.generate(), session_info(bytes(64), MANIFEST, MANIFEST)
    raw = b"CLSS\x01\0\0\0" + wrap_session_key(KEY, launch.public, info) + bytes(8192 + 53)
    assert unwrap_session_key(raw, launch, info)[0] == KEY
    with pytest.raises(AuthenticityError, match=r"authenticity\.wrapped_key"):
        unwrap_session_key(raw, WrappingKey.generate(), info)
    with pytest.raises(AuthenticityError, match=r"authenticity\.wrapped_key"):
        unwrap_session_key(raw, launch, session_info(b"\1" + bytes(63), MANIFEST, MANIFEST))
    for foreign in (raw + b"\0", raw[:-1], b"CLSS\x02" + raw[5:]):
        with pytest.raises(FormatError, match=r"format\.query"):
            unwrap_session_key(foreign, launch, info)
