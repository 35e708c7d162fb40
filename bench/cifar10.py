"""CIFAR-10 as tensors, from a folder outside the repository (side: library).

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. The folder is named by `CLOISTER_DATA`, or is
`../shared/data` beside the checkout: `cifar10_jpeg.bin.xz` has all images as JPEG, one after the other, and
`cifar10_jpeg_index.npz` their `sizes`, `label` and `is_test`.
"""

import io
import lzma
import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

DATA: Final = Path(os.environ.get("CLOISTER_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data"))
IMAGES: Final = DATA / "cifar10_jpeg.bin.xz"
INDEX: Final = DATA / "cifar10_jpeg_index.npz"

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images [N, 3, 32, 32] and their labels [N]."""


def missing() -> str | None:
    """Why there are no images, in words; None if there are."""
    if not (IMAGES.is_file() and INDEX.is_file()):
        return f"no CIFAR-10 in {DATA}: name its folder in CLOISTER_DATA"
    return None


def training_images(count: int, seed: int = 0) -> Images:
    """`count` images [N, 3, 32, 32] of the training part and their labels [N], chosen and shuffled by `seed`."""
    return _images(count, seed, test=False)


def held_out_images(count: int, seed: int = 0) -> Images:
    """The same of the test part, which nothing is ever trained on."""
    return _images(count, seed, test=True)


def _images(count: int, seed: int, *, test: bool) -> Images:
    from PIL import Image

    with np.load(INDEX) as index:
        sizes, labels, is_test = index["sizes"].astype(np.int64), index["label"], index["is_test"]
    chosen = np.random.default_rng(seed).choice(np.flatnonzero(is_test == test), count, replace=False)
    raw, ends = lzma.decompress(IMAGES.read_bytes()), np.cumsum(sizes)
    pictures = [Image.open(io.BytesIO(raw[ends[one] - sizes[one] : ends[one]])).convert("RGB") for one in chosen]
    images_NCHW = np.stack([np.asarray(picture) for picture in pictures]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images_NCHW), labels[chosen].astype(np.int64)
