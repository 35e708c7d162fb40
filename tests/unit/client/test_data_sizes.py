"""A schedule is planned for the data that an order names, and for no other that a host shows."""

from types import SimpleNamespace
from typing import Any

import pytest

from client import ordering
from common.crypto.digests import sha256
from common.crypto.signing import SigningKey
from common.errors import AuthenticityError
from common.identifiers import DatasetId
from common.messages.objects import DatasetManifest, ObjectRef
from common.messages.signed import sign


def test_sizes_are_those_of_the_manifest_that_the_data_set_is_named_by(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = SigningKey.generate()
    parts = tuple(ObjectRef(root=sha256(str(count).encode()), chunk_count=count) for count in (5120, 3))
    signed, other = (sign(DatasetManifest(owner=owner.party, parts=some, policy=sha256(b"")), owner)
                     for some in (parts, parts[:1]))  # fmt: skip
    shown = {"manifest": signed}
    service = SimpleNamespace(dataset=lambda _: shown["manifest"])
    monkeypatch.setattr(ordering, "IngestService", SimpleNamespace(of=lambda _: service))
    party: Any = None
    assert ordering.fetch_sizes(party, DatasetId.of(signed.digest)) == [5120, 3]
    shown["manifest"] = other
    with pytest.raises(AuthenticityError):
        ordering.fetch_sizes(party, DatasetId.of(signed.digest))
