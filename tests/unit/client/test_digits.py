"""The demo's split is fixed, stratified and without overlap."""

from pathlib import Path

import numpy as np
import pytest

from client.digits import held_out_rows, write_digits

pytest.importorskip("sklearn")


def test_split_is_stratified_and_fixed(tmp_path: Path) -> None:
    files = write_digits(tmp_path)
    with np.load(files.train) as train, np.load(files.held_out) as held_out:
        assert len(train["label"]) + len(held_out["label"]) == 1797
        assert train["image"].dtype == np.uint8
        assert train["image"].shape[1:] == (8, 8)
        share = np.bincount(held_out["label"]) / (np.bincount(train["label"]) + np.bincount(held_out["label"]))
        assert np.all(np.abs(share - 0.2) < 0.01)
        again = held_out_rows(np.concatenate([train["label"], held_out["label"]]))
    assert again.sum() == 359
    assert np.array_equal(
        again, held_out_rows(np.concatenate([np.load(files.train)["label"], np.load(files.held_out)["label"]]))
    )
