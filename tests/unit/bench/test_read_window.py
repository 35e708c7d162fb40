"""What is sealed for the bench is what an owner seals, and a bar that is missed is told."""

from pathlib import Path

import numpy as np
from click.testing import CliRunner

from bench.read_window import BARS, missed, reads, sealed_store
from common.crypto.keys import SecretKey
from common.dataset_payload import read_columns
from common.sealed_object import ObjectReader, require_header


def test_the_store_serves_what_was_sealed(tmp_path: Path) -> None:
    store, reference, key, _ = sealed_store(tmp_path, 4000)
    header = store.read_leaf(reference.root, 0)
    require_header(header, reference.root, reference.chunk_count, store.header_proof(reference.root))

    def fetch(chunk: int) -> bytes:
        return store.read_leaf(reference.root, chunk + 1)

    columns = read_columns(
        ObjectReader(SecretKey(key), header, reference.chunk_count, fetch, root=reference.root).read_all()
    )
    assert columns["image"].shape == (4000, 3, 32, 32)
    np.testing.assert_array_equal(columns["label"], np.arange(4000) % 10)


def test_bars() -> None:
    assert missed(dict.fromkeys(BARS, 0.0)) == []
    assert missed({"peak_mib": 3000.0, "wait_share": 0.0}) == ["peak_mib"]


def test_data_that_are_kept_show_nothing() -> None:
    result = CliRunner().invoke(reads, ["--gib", "0.4"])
    assert result.exit_code == 2
