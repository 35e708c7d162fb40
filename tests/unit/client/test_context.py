"""An identity directory keeps keys and documents to itself, and says what is missing."""

import stat
from pathlib import Path

import pytest

from client.context import Party
from common.crypto import SecretKey
from common.errors import AuthenticityError, NotFoundError
from common.identifiers import Digest, JobId
from common.messages.policy import JobReport
from common.messages.signed import sign

ROOT = Digest("1" * 64)


@pytest.fixture
def party(tmp_path: Path) -> Party:
    """A fresh party."""
    return Party.create(tmp_path / "home" / "ann", "ann", unsafe_simulation=True)


def test_everything_is_private_to_its_party(party: Party) -> None:
    party.keep_key(ROOT, SecretKey.generate())
    for path in party.directory.rglob("*"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_a_key_comes_back_and_lies_there_wrapped(party: Party) -> None:
    key = SecretKey.generate()
    party.keep_key(ROOT, key)
    assert party.object_key(ROOT) == key
    assert key._raw not in (party.directory / "keys" / f"{ROOT}.key").read_bytes()


def test_a_key_file_of_another_object_does_not_open(party: Party) -> None:
    party.keep_key(ROOT, SecretKey.generate())
    other = Digest("2" * 64)
    (party.directory / "keys" / f"{ROOT}.key").rename(party.directory / "keys" / f"{other}.key")
    with pytest.raises(AuthenticityError):
        party.object_key(other)


def test_what_is_missing_is_named(party: Party, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not_found.identity"):
        _ = Party(tmp_path / "nobody").identity
    with pytest.raises(NotFoundError, match="not_found.pin"):
        _ = party.trust
    with pytest.raises(NotFoundError, match="not_found.key"):
        party.object_key(ROOT)


def test_an_identity_is_never_overwritten(party: Party) -> None:
    with pytest.raises(FileExistsError):
        Party.create(party.directory, "ann", unsafe_simulation=False)


def test_documents_are_listed_in_the_order_they_were_kept(party: Party) -> None:
    report = JobReport(
        job_id=JobId("job_" + "0" * 32),
        sequence=0,
        tick=0,
        total_ticks=1,
        round=0,
        loss=None,
        members_live=0,
        real_frames=0,
        dummy_frames=0,
        refused_frames=0,
    )
    document = sign(report, party.identity.signing_key)
    assert party.documents("orders") == []
    for name in ("b", "a"):
        party.keep_document("orders", name, document)
    assert party.documents("orders") == ["b", "a"]
    assert party.document("orders", "a") == document
    assert party.document("orders", "c") is None
