"""Files of several kinds become the rows that a model takes, or are refused by name; nothing is guessed or cut."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from client.png_reader import MAX_PIXELS, SIGNATURE, read_png
from client.query_rows import read_rows
from common.bundle import TensorSpec
from common.errors import FormatError
from common.messages.query import QueryProfile


def profile(shape: tuple[int, ...], dtype: str) -> QueryProfile:
    """A model that takes such rows."""
    answer = TensorSpec(shape=(2,), dtype="float32")
    given = TensorSpec.model_validate({"shape": shape, "dtype": dtype})
    return QueryProfile(input=given, answer=answer, max_rows=4)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """As a common encoder writes it, with each line's filter chosen by it."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def smooth(*shape: int) -> NDArray[np.uint8]:
    """Pixels for which encoders choose every filter somewhere."""
    noise = np.random.default_rng(1).integers(0, 40, shape)
    pixels = np.indices(shape).sum(axis=0) * 3 + noise * (np.indices(shape)[0] % 3)
    return np.asarray(pixels, np.uint8)


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (31, 17), (32, 32, 3), (7, 50, 3)])
def test_an_images_pixels_are_read(shape: tuple[int, ...]) -> None:
    pixels = smooth(*shape)
    np.testing.assert_array_equal(read_png(png(pixels)), pixels)


def filtered(pixels: NDArray[np.uint8], kind: int) -> bytes:
    """A grey image all of whose lines have one filter, by the formulas of the standard's section 9.2."""
    lines = []
    for y, line in enumerate(pixels.astype(int)):
        data = bytearray([kind])
        for x, value in enumerate(line):
            a = pixels[y, x - 1] if x else 0
            b = pixels[y - 1, x] if y else 0
            c = pixels[y - 1, x - 1] if x and y else 0
            a, b, c = int(a), int(b), int(c)
            nearest = min((a, b, c), key=lambda one: (abs(a + b - c - one), (a, b, c).index(one)))
            data.append((value - (0, a, b, (a + b) // 2, nearest)[kind]) & 0xFF)
        lines.append(bytes(data))
    return build(pixels.shape[1], pixels.shape[0], b"".join(lines))


def build(width: int, height: int, lines: bytes, depth: int = 8, colour: int = 0, interlaced: int = 0) -> bytes:
    """A file of these lines."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize("kind", range(5))
def test_each_filter_is_undone(kind: int) -> None:
    pixels = smooth(9, 11)
    np.testing.assert_array_equal(read_png(filtered(pixels, kind)), pixels)


GOOD = build(2, 2, bytes(6))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "begin"),
        (b"GIF89a", "begin"),
        (SIGNATURE, "cut short"),
        (GOOD[:40], "cut short"),
        (GOOD[:45] + bytes([GOOD[45] ^ 1]) + GOOD[46:], "damaged"),
        (build(2, 2, bytes(5)), "fewer or more"),
        (build(2, 2, bytes(7)), "fewer or more"),
        (build(2, 2, b"\x05" + bytes(5)), "unknown filter"),
        (build(0, 2, b""), "no pixels"),
        (build(1 << 16, 1 << 16, bytes(100)), "too many"),
        (build(2, 2, bytes(10), depth=16), "8 bits"),
        (build(2, 2, bytes(6), interlaced=1), "8 bits"),
        (build(2, 2, bytes(18), colour=6), "8 bits"),
        (build(2, 2, bytes(6), colour=3), "8 bits"),
    ],
)
def test_what_is_no_image_of_ours_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_png(raw)


def test_an_image_that_is_small_in_the_file_and_large_in_memory_is_refused() -> None:
    bomb = build(2, 2, bytes(1 << 24))
    assert len(bomb) < 1 << 15
    with pytest.raises(ValueError, match="fewer or more"):
        read_png(bomb)
    assert MAX_PIXELS < 1 << 25


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [(smooth(5, 6), (5, 6)), (smooth(5, 6), (1, 5, 6)), (smooth(5, 6, 3), (5, 6, 3)), (smooth(5, 6, 3), (3, 5, 6))],
)
def test_an_image_has_its_axes_where_the_model_has_them(
    tmp_path: Path, pixels: NDArray[np.uint8], shape: tuple[int, ...]
) -> None:
    (tmp_path / "one.png").write_bytes(png(pixels))
    rows = read_rows(tmp_path / "one.png").fitted(profile(shape, "uint8"))
    assert rows.shape == (1, *shape)
    expected = np.moveaxis(pixels, 2, 0) if shape == (3, 5, 6) else pixels.reshape(shape)
    np.testing.assert_array_equal(rows[0], expected)


def test_lines_of_numbers_take_the_models_shape_and_type(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,b,c,d\n1,2,3,4\n5,6,7,8.5\n")
    rows = read_rows(tmp_path / "rows.csv").fitted(profile((2, 2), "float32"))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, [[[1, 2], [3, 4]], [[5, 6], [7, 8.5]]])


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        (tmp_path / f"{number}.png").write_bytes(png(np.full((4, 4), number, np.uint8)))
    (tmp_path / "notes.txt").write_text("not rows")
    rows = read_rows(tmp_path).fitted(profile((4, 4), "uint8"))
    assert rows[:, 0, 0].tolist() == [1, 2, 3]


def text(lines: str) -> Callable[[Path], None]:
    """Writes a CSV file."""
    return lambda folder: (folder / "rows.csv").write_text(lines)  # type: ignore[return-value]


def image(*shape: int) -> Callable[[Path], None]:
    """Writes an image."""
    return lambda folder: (folder / f"{len(shape)}-{shape[0]}.png").write_bytes(png(smooth(*shape)))  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("write", "shape", "dtype"),
    [
        (text("1,2\n3\n"), (2,), "float32"),
        (text("1,2\n3,x\n"), (2,), "float32"),
        (text("names,only\n"), (2,), "float32"),
        (text(""), (2,), "float32"),
        (text("1,2,3\n"), (2,), "float32"),
        (text("1,2.5\n"), (2,), "uint8"),
        (text("1,256\n"), (2,), "uint8"),
        (text("-1,0\n"), (2,), "uint8"),
        (text("nan,0\n"), (2,), "int64"),
        (text("1e30,0\n"), (2,), "int64"),
        (image(4, 4), (4, 5), "uint8"),
        (image(4, 4), (4, 4), "float32"),
        (image(4, 4, 3), (4, 4), "uint8"),
    ],
)
def test_rows_that_do_not_fit_are_refused_by_the_files_name(
    tmp_path: Path, write: Callable[[Path], None], shape: tuple[int, ...], dtype: str
) -> None:
    write(tmp_path)
    (file,) = tmp_path.iterdir()
    with pytest.raises(FormatError, match=r"format\.query") as refusal:
        read_rows(file).fitted(profile(shape, dtype))
    assert file.name in str(refusal.value.seen)


@pytest.mark.parametrize("writers", [[], [image(4, 4), image(5, 4)], [image(4, 4), text("1,2\n")]])
def test_a_folder_of_several_kinds_or_none_is_refused(tmp_path: Path, writers: list[Callable[[Path], None]]) -> None:
    for write in writers:
        write(tmp_path)
    with pytest.raises(FormatError, match=r"format\.query"):
        read_rows(tmp_path)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.pkl").write_bytes(b"")
    with pytest.raises(FormatError, match=r"format\.query") as refusal:
        read_rows(tmp_path / "rows.pkl")
    assert ".csv" in str(refusal.value.expected)
