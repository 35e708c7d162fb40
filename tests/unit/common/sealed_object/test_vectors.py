"""The published vectors of the sealed object format, failures included."""

import json
from pathlib import Path
from typing import Any

import pytest

from common.crypto.keys import SecretKey
from common.errors import NotFoundError, Refusal
from common.identifiers import Digest
from common.sealed_object import ObjectReader

VECTORS = Path(__file__).parents[3] / "vectors" / "sealed_object" / "sealed_object.json"


def read(vector: dict[str, Any]) -> bytes:
    header, *chunks = (bytes.fromhex(leaf) for leaf in vector["leaves"])

    def fetch(chunk: int) -> bytes:
        if chunk >= len(chunks):
            raise NotFoundError("not_found.object")
        return chunks[chunk]

    key, root = SecretKey(bytes.fromhex(vector["key"])), Digest(vector["root"])
    return ObjectReader(key, header, vector["chunk_count"], fetch, root=root).read_all()


@pytest.mark.parametrize("vector", json.loads(VECTORS.read_text())["vectors"], ids=lambda vector: vector["name"])
def test_vector(vector: dict[str, Any]) -> None:
    if vector["outcome"] == "opens":
        assert read(vector).hex() == vector["payload"]
    else:
        with pytest.raises(Refusal) as refused:
            read(vector)
        assert refused.value.code == vector["outcome"]
