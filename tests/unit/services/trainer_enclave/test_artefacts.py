"""What was compiled comes back from the host's folder, or not at all."""

from pathlib import Path

import pytest

from common.crypto.digests import sha256
from common.crypto.keys import SecretKey
from common.errors import FormatError
from common.sandbox.wasm.compiled import CompiledDesign
from common.sandbox.wasm.engine import make_engine
from common.untrusted import artefacts as host
from common.untrusted.artefacts import ArtefactFolder
from services.trainer_enclave import artefacts as enclave
from services.trainer_enclave.artefacts import PIECE_BYTES, DoorArtefacts
from tests.fakes.answering import AnswersAtOnce
from tests.fakes.wasm_components import component

NAME = sha256(b"a component")


class FolderDoor(AnswersAtOnce):
    """A door whose relay has the folder."""

    def __init__(self, folder: ArtefactFolder) -> None:
        self._handlers = folder.handlers()
        self.sizes: list[int] = []

    def call(self, name: str, body: bytes, *, seconds: float = 60.0) -> bytes:
        """What the relay answers."""
        assert seconds > 0
        self.sizes.append(len(body))
        return self._handlers[name](body)


@pytest.fixture
def door(tmp_path: Path) -> FolderDoor:
    return FolderDoor(ArtefactFolder(tmp_path / "artefacts"))


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 8, PIECE_BYTES - 7, 2 * PIECE_BYTES + 5])
def test_what_was_saved_is_there_for_the_next_launch(door: FolderDoor, size: int) -> None:
    blob = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert DoorArtefacts(door).load(NAME) is None
    DoorArtefacts(door).save(NAME, blob)
    assert DoorArtefacts(door).load(NAME) == blob


def test_what_one_launch_compiled_the_next_one_loads(door: FolderDoor) -> None:
    design, code = CompiledDesign(SecretKey.generate(), DoorArtefacts(door), NAME), component()
    assert design.component(make_engine(), code, 30.0) is not None
    written = len(door.sizes)
    assert design.component(make_engine(), code, 0.0) is not None
    assert (written, len(door.sizes)) == (2, 3)  # nothing there, then one piece; then that piece


def test_the_host_sees_whole_pieces(door: FolderDoor) -> None:
    DoorArtefacts(door).save(NAME, b"x" * 1000)
    assert door.sizes == [40 + PIECE_BYTES]


def test_half_of_it_is_nothing(door: FolderDoor, tmp_path: Path) -> None:
    DoorArtefacts(door).save(NAME, bytes(2 * PIECE_BYTES))
    (tmp_path / "artefacts" / sha256(NAME.encode()) / "1").unlink()
    assert DoorArtefacts(door).load(NAME) is None


@pytest.mark.parametrize("head", [2**63, 2**64 - 1, enclave.MOST_PIECES * PIECE_BYTES])
def test_a_host_that_says_absurd_lengths_is_not_followed(door: FolderDoor, tmp_path: Path, head: int) -> None:
    place = tmp_path / "artefacts" / sha256(NAME.encode())
    place.mkdir(parents=True)
    (place / "0").write_bytes(head.to_bytes(8, "big").ljust(PIECE_BYTES, b"\0"))
    assert DoorArtefacts(door).load(NAME) is None


def test_a_blob_beyond_the_bound_is_not_sent(door: FolderDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enclave, "MOST_PIECES", 1)
    DoorArtefacts(door).save(NAME, bytes(PIECE_BYTES))
    assert door.sizes == []


def test_the_folder_keeps_the_newest(door: FolderDoor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MOST_NAMES", 2)
    for number in range(4):
        DoorArtefacts(door).save(sha256(b"%d" % number), b"blob")
    assert len(list((tmp_path / "artefacts").iterdir())) == 2
    assert DoorArtefacts(door).load(sha256(b"3")) == b"blob"


@pytest.mark.parametrize("body", [b"", bytes(39), bytes(32) + b"\0\0\0\x20" + bytes(4), bytes(36) + b"\0\0\0\x21"])
def test_other_requests_are_refused(door: FolderDoor, body: bytes) -> None:
    with pytest.raises(FormatError):
        door.call("artefact.write", body)
