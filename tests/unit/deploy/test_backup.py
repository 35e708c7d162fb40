"""Backups: whole or none, nothing of the witness, never over a newer state by accident; what was there is kept."""

import sqlite3
from pathlib import Path

import pytest

from common.errors import ConflictError, FormatError
from deploy.embedded.backup import INDEX, back_up, read_index, restore
from deploy.embedded.state import StateDirectory, write_private


def put(state: StateDirectory, path: str, content: bytes) -> None:
    place = state.root / path
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(place, content)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.prepare()
    (made.root / "registry").mkdir(mode=0o700)
    with sqlite3.connect(made.root / "registry/registry.sqlite") as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE jobs (job TEXT)")
        connection.execute("INSERT INTO jobs VALUES ('one')")
    put(made, "objects/ab/cd", b"ciphertext")
    put(made, "attestation/broker/chain-0000000000000003.log", b"0123456789")
    put(made, "attestation/broker/log.records", b"log")
    put(made, "attestation/broker/.chain.new", b"half")
    put(made, "witness/witness.json", b"memory")
    put(made, "rabbitmq/mnesia", b"queue")
    return made


def jobs(state: StateDirectory) -> list[str]:
    with sqlite3.connect(state.root / "registry/registry.sqlite") as connection:
        return [row[0] for row in connection.execute("SELECT job FROM jobs")]


def test_a_backup_is_the_state_without_witness_and_queues(state: StateDirectory, tmp_path: Path) -> None:
    index = back_up(state, tmp_path / "copy")
    paths = {file.path for file in index.files}
    assert paths == {
        "registry/registry.sqlite", "objects/ab/cd", "attestation/broker/chain-0000000000000003.log",
        "attestation/broker/log.records",
    }  # fmt: skip
    assert read_index(tmp_path / "copy") == index
    assert not index.was_up
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


def test_what_is_written_while_it_is_copied_is_there_or_not_but_whole(state: StateDirectory, tmp_path: Path) -> None:
    """SQLite's file is behind its write-ahead log while the stack is up: a copy of it alone would lack the row."""
    writer = sqlite3.connect(state.root / "registry/registry.sqlite", isolation_level=None)
    writer.execute("INSERT INTO jobs VALUES ('two')")
    lock = state.lock()
    assert lock is not None
    index = back_up(state, tmp_path / "copy")
    assert index.was_up
    writer.close()
    elsewhere = StateDirectory(tmp_path / "elsewhere")
    restore(elsewhere, tmp_path / "copy")
    assert jobs(elsewhere) == ["one", "two"]


def test_a_restore_keeps_the_witness_and_what_was_there(state: StateDirectory, tmp_path: Path) -> None:
    back_up(state, tmp_path / "copy")
    put(state, "objects/new", b"later")
    put(state, "witness/witness.json", b"newer memory")
    restore(state, tmp_path / "copy")
    assert not (state.root / "objects/new").exists()
    assert (state.root / "objects/ab/cd").read_bytes() == b"ciphertext"
    assert (state.root / "witness/witness.json").read_bytes() == b"newer memory"
    (aside,) = state.root.glob("aside-*")
    assert (aside / "objects/new").read_bytes() == b"later"


@pytest.mark.parametrize(("chain", "newer"), [(3, b"0123456789 and more"), (4, b"0")])
def test_a_newer_broker_state_is_not_overwritten_by_accident(
    state: StateDirectory, tmp_path: Path, chain: int, newer: bytes
) -> None:
    back_up(state, tmp_path / "copy")
    put(state, f"attestation/broker/chain-{chain:016}.log", newer)
    with pytest.raises(ConflictError, match="conflict.newer_state"):
        restore(state, tmp_path / "copy")
    assert (state.root / f"attestation/broker/chain-{chain:016}.log").read_bytes() == newer
    assert list(state.root.glob("aside-*")) == []
    restore(state, tmp_path / "copy", over_newer=True)
    (aside,) = state.root.glob("aside-*")
    assert (aside / f"attestation/broker/chain-{chain:016}.log").read_bytes() == newer


def test_a_damaged_copy_is_refused_before_anything_is_touched(state: StateDirectory, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    back_up(state, copy)
    before = (copy / "objects/ab/cd").read_bytes()
    for spoil in (
        lambda: (copy / "objects/ab/cd").write_bytes(b"ciphertexT"),
        (copy / "objects/ab/cd").unlink,
        lambda: (copy / "objects/ab/extra").write_bytes(b""),
        lambda: (copy / INDEX).write_bytes((copy / INDEX).read_bytes()[:-1]),
        (copy / INDEX).unlink,
    ):
        spoil()
        with pytest.raises(FormatError, match="format.backup"):
            restore(state, copy)
        assert list(state.root.glob("aside-*")) == []
        (copy / "objects/ab/cd").write_bytes(before)
        (copy / "objects/ab/extra").unlink(missing_ok=True)


def test_a_stack_that_is_up_is_not_restored_and_a_directory_not_overwritten(
    state: StateDirectory, tmp_path: Path
) -> None:
    back_up(state, tmp_path / "copy")
    with pytest.raises(ConflictError, match="conflict.state_directory"):
        back_up(state, tmp_path / "copy")
    lock = state.lock()
    assert lock is not None
    with pytest.raises(ConflictError, match="conflict.stack_up"):
        restore(state, tmp_path / "copy")
