import os
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import FormatError, UnavailableError
from services.attestation.record_file import BLOB, ENTRY, RecordFile
from services.attestation.state_door import (
    encode_append,
    encode_begin,
    encode_package,
    parse_append,
    parse_begin,
    parse_number,
    parse_package,
)
from services.attestation.state_files import StateFiles


def chain(files: StateFiles) -> list[bytes]:
    blobs, number = [], 0
    while blob := files.read(number):
        blobs.append(blob)
        number += 1
    return blobs


def log(files: StateFiles) -> list[bytes]:
    return [files.read_entry(number) for number in range(files.entry_count)]


def begun(directory: Path, *blobs: bytes, entries: tuple[bytes, ...] = (b"genesis", b"start")) -> StateFiles:
    files = StateFiles(directory)
    begin(files, *blobs, entries=entries)
    return files


def begin(files: StateFiles, *blobs: bytes, entries: tuple[bytes, ...] = ()) -> None:
    files.begin(files.entry_count, entries)
    for blob in blobs:
        files.add(blob)
    files.commit()


def test_what_was_stored_is_read_back(tmp_path: Path) -> None:
    files = begun(tmp_path, b"one", b"two")
    files.append((b"decision", b"three"))
    for again in (files, StateFiles(tmp_path)):
        assert chain(again) == [b"one", b"two", b"three"]
        assert log(again) == [b"genesis", b"start", b"decision"]
        assert again.read_entry(3) == again.read(3) == b""


def test_an_empty_directory_has_no_chain(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "new")
    assert (files.read(0), files.read_entry(0), files.entry_count) == (b"", b"", 0)
    with pytest.raises(UnavailableError, match="unavailable.store"):
        files.append((b"entry", b"one"))
    with pytest.raises(UnavailableError, match="unavailable.store"):
        files.add(b"one")


def test_a_new_chain_replaces_the_old_one_only_when_it_is_whole_and_the_log_goes_on(tmp_path: Path) -> None:
    files = begun(tmp_path, b"old")
    files.append((b"decision", b"more"))
    files.begin(3, (b"start",))
    files.add(b"new")
    for again in (files, StateFiles(tmp_path)):
        assert (chain(again), len(log(again))) == ([b"old", b"more"], 3)
    files.commit()
    files.append((b"another", b"more"))
    for again in (files, StateFiles(tmp_path)):
        assert chain(again) == [b"new", b"more"]
        assert log(again) == [b"genesis", b"start", b"decision", b"start", b"another"]
    assert len(list(tmp_path.glob("chain-*"))) == 1


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 13, 14, 15, 20])
def test_a_torn_decision_is_cut_off_with_its_entry(tmp_path: Path, cut: int) -> None:
    """Its entry is as long as its blob: 8 bytes of blob, 5 before them, and as much of the entry."""
    files = begun(tmp_path, b"one")
    files.append((b"decision", b"the blob"))
    path = next(tmp_path.glob("chain-*"))
    path.write_bytes(path.read_bytes()[:-cut])
    reopened = StateFiles(tmp_path)
    assert (chain(reopened), log(reopened)) == ([b"one"], [b"genesis", b"start"])
    reopened.append((b"another", b"three"))
    assert chain(StateFiles(tmp_path)) == [b"one", b"three"]
    assert log(StateFiles(tmp_path)) == [b"genesis", b"start", b"another"]


@pytest.mark.parametrize("at", ["rename", "unlink", "fsync"])
def test_a_crash_while_a_chain_takes_the_place_of_another_loses_no_entry(
    tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = begun(tmp_path, b"old")
    files.append((b"decision", b"more"))
    files.begin(3, (b"start",))
    files.add(b"new")

    def crash(*_: object) -> None:
        raise OSError(at)

    with monkeypatch.context() as patched:
        patched.setattr(*((os, "fsync", crash) if at == "fsync" else (Path, at, crash)))
        with pytest.raises(UnavailableError):
            files.commit()
    again = StateFiles(tmp_path)
    assert log(again)[:3] == [b"genesis", b"start", b"decision"]
    begin(again, b"newer", entries=(b"start",))
    assert log(StateFiles(tmp_path)) == log(again)
    assert log(again)[:3] == [b"genesis", b"start", b"decision"]


def test_an_older_chain_without_its_log_destroys_nothing(tmp_path: Path) -> None:
    files = begun(tmp_path, b"old")
    older = next(tmp_path.glob("chain-*"))
    kept = (older.name, older.read_bytes())
    files.append((b"decision", b"more"))
    begin(files, b"new", entries=(b"start",))
    for path in tmp_path.glob("chain-*"):
        path.unlink()
    (tmp_path / kept[0]).write_bytes(kept[1])
    rewound = StateFiles(tmp_path)
    assert log(rewound) == [b"genesis", b"start"]
    begin(rewound, b"rewound", entries=(b"other start",))
    assert log(StateFiles(tmp_path)) == [b"genesis", b"start", b"other start"]
    aside = RecordFile.open(next(tmp_path.glob("log-aside-*")), closing=ENTRY)
    assert [aside.read(ENTRY, number) for number in range(aside.count(ENTRY))] == [b"genesis", b"start", b"decision"]


def test_a_chain_whose_log_is_lost_is_refused(tmp_path: Path) -> None:
    files = begun(tmp_path, b"old")
    begin(files, b"new", entries=(b"start",))
    (tmp_path / "log.records").unlink()
    with pytest.raises(UnavailableError, match="unavailable.store"):
        StateFiles(tmp_path)


def test_a_chain_that_leaves_a_gap_is_refused(tmp_path: Path) -> None:
    files = begun(tmp_path, b"old")
    files.begin(3, (b"start",))
    files.add(b"new")
    with pytest.raises(UnavailableError, match="unavailable.store"):
        files.commit()


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    begun(tmp_path / "broker", b"one")
    assert (tmp_path / "broker").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "broker").iterdir())


@pytest.mark.parametrize("content", [b"something else", b"", b"CLBS\x01", b"CLBS\x02\x00"])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chain-0000000000000001.log").write_bytes(content)
    with pytest.raises(UnavailableError, match="unavailable.store"):
        StateFiles(tmp_path)


def test_an_unknown_kind_of_record_ends_a_file(tmp_path: Path) -> None:
    file = RecordFile.create(tmp_path / "file")
    file.append((BLOB, b"one"))
    with (tmp_path / "file").open("ab") as raw:
        raw.write(b"\x07\x00\x00\x00\x01x\x01\x00\x00\x00\x01x")
    again = RecordFile.open(tmp_path / "file", closing=BLOB)
    assert (again.count(BLOB), again.read(BLOB, 0)) == (1, b"one")


def test_bodies_of_the_door_come_back() -> None:
    two = [(b"entry", b"blob"), (b"next", b"another")]
    assert parse_append(encode_append(two)) == two
    assert parse_package(encode_package(b"data set", b"")) == (b"data set", b"")
    assert parse_begin(encode_begin(7, [b"one", b"two"])) == (7, [b"one", b"two"])
    assert parse_begin(encode_begin(0, [])) == (0, [])


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (parse_append, b""),
        (parse_append, bytes(4) + b"blob"),
        (parse_append, b"\x00\x00\x00\x05entr"),
        (parse_append, b"\x00\x00\x00\x05entry"),
        (parse_append, b"\x00\x00\x00\x05entry" + bytes(4)),
        (parse_package, b"\x00\x00\x00\x05name"),
        (parse_begin, bytes(7)),
        (parse_begin, bytes(8) + b"\x00\x00\x00\x02x"),
        (parse_number, b""),
    ],
)
def test_malformed_bodies_are_refused(parse: Callable[[bytes], object], body: bytes) -> None:
    with pytest.raises(FormatError, match="format.door_frame"):
        parse(body)


def test_wherever_a_crash_cuts_there_are_as_many_entries_as_decisions(tmp_path: Path) -> None:
    files = begun(tmp_path / "whole", b"snapshot")
    for number in range(6):
        files.append((b"entry %d" % number, b"blob of decision %d" % number))
    path = next((tmp_path / "whole").glob("chain-*"))
    raw, whole = path.read_bytes(), log(files)
    begun_at = raw.index(b"snapshot") + len(b"snapshot")
    for cut in range(begun_at, len(raw) + 1):
        path.write_bytes(raw[:cut])
        again = StateFiles(tmp_path / "whole")
        assert again.entry_count == len(chain(again)) + 1
        assert log(again) == whole[: again.entry_count]
