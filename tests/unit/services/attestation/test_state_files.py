from pathlib import Path

import pytest

from common.errors import UnavailableError
from services.attestation.state_files import StateFiles


def chain(files: StateFiles) -> list[bytes]:
    blobs, number = [], 0
    while blob := files.read(number):
        blobs.append(blob)
        number += 1
    return blobs


def begun(directory: Path, *blobs: bytes) -> StateFiles:
    files = StateFiles(directory)
    files.begin()
    for blob in blobs:
        files.add(blob)
    files.commit()
    return files


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    files = begun(tmp_path, b"one", b"two")
    files.append(b"three")
    assert chain(files) == chain(StateFiles(tmp_path)) == [b"one", b"two", b"three"]


def test_an_empty_directory_has_no_chain(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "new")
    assert files.read(0) == b""
    with pytest.raises(UnavailableError, match="unavailable.store"):
        files.append(b"one")
    with pytest.raises(UnavailableError, match="unavailable.store"):
        files.add(b"one")


def test_a_new_chain_replaces_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    files = begun(tmp_path, b"old")
    files.begin()
    files.add(b"new")
    assert chain(files) == chain(StateFiles(tmp_path)) == [b"old"]
    files.commit()
    files.append(b"more")
    assert chain(files) == chain(StateFiles(tmp_path)) == [b"new", b"more"]
    assert len(list(tmp_path.glob("chain-*"))) == 1


@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_a_torn_last_blob_is_cut_off(tmp_path: Path, cut: int) -> None:
    files = begun(tmp_path, b"one")
    files.append(b"two")
    path = next(tmp_path.glob("chain-*"))
    path.write_bytes(path.read_bytes()[:-cut])
    reopened = StateFiles(tmp_path)
    assert chain(reopened) == [b"one"]
    reopened.append(b"three")
    assert chain(StateFiles(tmp_path)) == [b"one", b"three"]


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    begun(tmp_path / "broker", b"one")
    assert (tmp_path / "broker").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "broker").iterdir())


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "chain-0000000000000001.log").write_bytes(b"something else")
    with pytest.raises(UnavailableError, match="unavailable.store"):
        StateFiles(tmp_path)
