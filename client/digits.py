"""The demo's real data: scikit-learn's handwritten digits, split once and for all (side: owner).

1,797 images of 8 x 8 pixels with values 0 to 16 (Alpaydin and Kaynak, UCI repository, 1998), of which scikit-learn
ships the test part. Split by label with a fixed seed: the owner's rows are trained on, the user's held-out rows are
asked about, and no row is in both.

    python -m client.digits DIRECTORY        writes digits-train.npz, digits-held-out.npz
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HELD_OUT_SHARE = 0.2
SPLIT_SEED = 20_260_101


@dataclass(frozen=True)
class DigitsFiles:
    """NPZ files with the columns `image` (uint8 [N, 8, 8]) and `label` (int64 [N])."""

    train: Path
    held_out: Path


def write_digits(directory: Path) -> DigitsFiles:
    """Write both parts into `directory`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    image, label = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    held_out = held_out_rows(label)
    files = DigitsFiles(directory / "digits-train.npz", directory / "digits-held-out.npz")
    directory.mkdir(parents=True, exist_ok=True)
    np.savez(files.train, image=image[~held_out], label=label[~held_out])
    np.savez(files.held_out, image=image[held_out], label=label[held_out])
    return files


def held_out_rows(label_N: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of the held-out rows: the same share of every label."""
    generator = np.random.default_rng(SPLIT_SEED)
    mask = np.zeros(len(label_N), dtype=bool)
    for value in np.unique(label_N):
        rows = generator.permutation(np.flatnonzero(label_N == value))
        mask[rows[: round(HELD_OUT_SHARE * len(rows))]] = True
    return mask


if __name__ == "__main__":
    write_digits(Path(sys.argv[1]))
