"""Files of arrays that are empty, cut or damaged are refused, whoever reads them."""

from pathlib import Path

import numpy as np
import pytest

from client.context import Party
from client.owner import seal
from client.query_rows import read_rows
from common.errors import FormatError

EMPTY, CUT, DAMAGED, NO_ARRAY = "empty", "cut", "damaged", "no array"


@pytest.fixture(params=[EMPTY, CUT, DAMAGED, NO_ARRAY])
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "rows.npz"
    np.savez(path, image=np.arange(64, dtype=np.uint8).reshape(4, 4, 4))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[200] ^= 255
    path.write_bytes({EMPTY: b"", CUT: whole[:200], DAMAGED: bytes(damaged), NO_ARRAY: b"image;label\n"}[request.param])
    return path


def test_no_rows_are_read_from_it(file: Path) -> None:
    with pytest.raises(FormatError, match="format.query"):
        read_rows(file)


def test_it_is_not_sealed(tmp_path: Path, file: Path) -> None:
    with pytest.raises(FormatError, match="format.dataset"):
        list(seal(Party(tmp_path / "owner"), file, tmp_path / "sealed"))
    assert not (tmp_path / "sealed").exists()
