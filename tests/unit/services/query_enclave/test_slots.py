"""Large bodies beside Redis: bounded, private, freed by whoever ends a question, and swept behind a crash."""

import os
import stat
import time
from pathlib import Path

import pytest

from common.errors import UnavailableError
from common.identifiers import QueryId
from services.query_enclave.slots import EXPIRE_SECONDS, SLOTS, Slots


def names(directory: Path) -> list[str]:
    """What lies there."""
    return sorted(entry.name for entry in directory.iterdir())


def test_a_body_is_there_until_it_is_freed(tmp_path: Path) -> None:
    slots, name = Slots(tmp_path / "slots"), QueryId.new()
    slot = slots.put(name, "q", b"abc" * 10_000)
    assert slots.get(slot) == b"abc" * 10_000
    slots.free(slot)
    slots.free(slot)
    slots.free(None)
    assert slots.get(slot) is None
    assert names(tmp_path / "slots") == []


def test_it_is_this_users_alone(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots")
    path = tmp_path / "slots" / slots.put(QueryId.new(), "a", b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_same_name_is_one_body_as_a_whole(tmp_path: Path) -> None:
    """A worker that answers again what its predecessor answered takes no more room."""
    slots, name = Slots(tmp_path / "slots"), QueryId.new()
    assert slots.put(name, "a", b"old") == slots.put(name, "a", b"new")
    assert slots.get(f"{name}-a-3") == b"new"
    assert len(names(tmp_path / "slots")) == 1


def test_there_is_room_for_so_many_bytes(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots", most_bytes=1000)
    held = [slots.put(QueryId.new(), "q", bytes(300)) for _ in range(3)]
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        slots.put(QueryId.new(), "q", bytes(101))
    assert Slots(tmp_path / "slots", most_bytes=1000).put(QueryId.new(), "a", bytes(100))  # other processes count too
    slots.free(held[0])
    assert slots.put(QueryId.new(), "q", bytes(300))


def test_there_is_room_for_so_many_files(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots")
    for _ in range(SLOTS):
        (tmp_path / "slots" / f"{QueryId.new()}-q-0").touch()
    with pytest.raises(UnavailableError, match=r"unavailable\.full"):
        slots.put(QueryId.new(), "q", b"x")


@pytest.mark.parametrize(
    "name",
    ["", "../outside", "query_" + "0" * 32, "query_" + "0" * 32 + "-q-4/../../outside", "query_" + "0" * 32 + "-x-4"],
)
def test_a_name_that_is_none_of_ours_names_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_bytes(b"else")
    slots = Slots(tmp_path / "slots")
    assert slots.get(name) is None
    slots.free(name)
    assert (tmp_path / "outside").exists()


def test_what_was_put_in_its_place_is_not_followed_nor_believed(tmp_path: Path) -> None:
    slots, name = Slots(tmp_path / "slots"), f"query_{'1' * 32}-q-4"
    (tmp_path / "outside").write_bytes(b"else")
    (tmp_path / "slots" / name).symlink_to(tmp_path / "outside")
    assert slots.get(name) is None
    slots.free(name)
    for other in (b"longer than its name says", b"no"):
        (tmp_path / "slots" / name).write_bytes(other)
        assert slots.get(name) is None


def test_what_a_crash_left_is_swept_when_no_question_can_want_it(tmp_path: Path) -> None:
    slots = Slots(tmp_path / "slots")
    old, new = (slots.put(QueryId.new(), "q", bytes(10)) for _ in range(2))
    half = tmp_path / "slots" / f".{QueryId.new()}-q-9"
    half.write_bytes(b"half")
    long_ago = time.time() - EXPIRE_SECONDS - 1
    for path in (tmp_path / "slots" / old, half):
        os.utime(path, (long_ago, long_ago))
    slots.sweep(time.time())
    assert names(tmp_path / "slots") == [new]
    Slots(tmp_path / "slots").put(QueryId.new(), "q", b"x")  # a process that begins sweeps with its first body
