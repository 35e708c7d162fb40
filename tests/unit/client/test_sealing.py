"""What is sealed piece by piece is the object that its root names, and its columns are those that were brought."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client import events as e
from client import owner
from client.objects import read_leaves, require_intact
from client.sealing import seal_pieces, seal_to_directory
from common.dataset_payload import read_columns
from common.errors import FormatError
from common.sealed_object import ObjectKind, ObjectReader


class KeyKeeper:
    """A party, as far as sealing needs one."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}

    def keep_key(self, root: str, key: Any) -> None:
        """Remember it."""
        self.keys[root] = key


def opened(party: Any, directory: Path, kind: ObjectKind = ObjectKind.DATASET) -> bytes:
    reference = require_intact(directory)
    header, *chunks = read_leaves(directory, reference)
    key, count = party.keys[reference.root], reference.chunk_count
    return ObjectReader(key, header, count, chunks.__getitem__, kind=kind, root=reference.root).read_all()


@pytest.mark.parametrize("pieces", [[b""], [b"one"], [b"", b"one", b"", b"two" * 10**6], [bytes(1 << 20)] * 3])
def test_pieces_are_sealed_as_one_payload(tmp_path: Path, pieces: list[bytes]) -> None:
    party: Any = KeyKeeper()
    (event,) = seal_pieces(party, lambda: pieces, ObjectKind.DATASET, tmp_path / "sealed")
    assert opened(party, tmp_path / "sealed") == b"".join(pieces)
    assert isinstance(event, e.Sealed)
    assert event.chunks == require_intact(tmp_path / "sealed").chunk_count


def test_pieces_that_are_other_ones_the_second_time_are_refused(tmp_path: Path) -> None:
    party: Any = KeyKeeper()
    for number, (first, second) in enumerate(((b"ab", b"a"), (b"a", b"ab"))):
        told = iter([[first], [second]])
        with pytest.raises(FormatError, match=r"format\.sealed_object"):
            list(seal_pieces(party, functools.partial(next, told), ObjectKind.DATASET, tmp_path / str(number)))
    assert party.keys == {}


def test_one_payload_of_any_kind(tmp_path: Path) -> None:
    party: Any = KeyKeeper()
    list(seal_to_directory(party, b"code", ObjectKind.BUNDLE, tmp_path / "sealed"))
    assert opened(party, tmp_path / "sealed", ObjectKind.BUNDLE) == b"code"


def test_columns_of_a_directory_are_those_of_an_npz_file(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"image": np.arange(2400, dtype=np.uint8).reshape(100, 4, 6), "label": np.arange(100)}
    (tmp_path / "mapped").mkdir()
    for name, column in columns.items():
        np.save(tmp_path / "mapped" / f"{name}.npy", column)
    np.savez(tmp_path / "rows.npz", **columns)
    party: Any = KeyKeeper()
    for source in ("mapped", "rows.npz"):
        list(owner.seal(party, tmp_path / source, tmp_path / f"{source}.sealed"))
        back = read_columns(opened(party, tmp_path / f"{source}.sealed"))
        assert list(back) == ["image", "label"]
        for name, column in columns.items():
            np.testing.assert_array_equal(back[name], column)


def test_a_directory_without_columns_is_refused(tmp_path: Path) -> None:
    party: Any = KeyKeeper()
    for name, content in (("empty", None), ("text", b"no array")):
        (tmp_path / name).mkdir()
        if content is not None:
            (tmp_path / name / "x.npy").write_bytes(content)
        with pytest.raises(FormatError, match=r"format\.dataset"):
            list(owner.seal(party, tmp_path / name, tmp_path / "sealed"))
    assert not (tmp_path / "sealed").exists()
