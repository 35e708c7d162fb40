"""Rows that a user asks about, read from files of several kinds (side: owner: the user's machine).

    NPY, NPZ   an array, or a column of several, of the model's very shape and type
    CSV        a row on each line, its numbers in C order; a first line of names is passed over
    PNG        one row: 8 bits of grey, or of red, green and blue, for models that take uint8
    a folder   files of one of these kinds by their names, in alphabetical order, each with one row or more

What text and images leave open (type, order of the axes) is settled by the model's profile, and nothing is rounded to
integers, scaled or cut: a file that does not fit is refused, by name.
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from client.plain_arrays import UNREADABLE
from client.png_reader import read_png
from common.errors import FormatError
from common.messages.query import QueryProfile

Kind = Literal["array", "text", "images"]
ENDINGS: Final = (".npy", ".npz", ".csv", ".png")


@dataclass(frozen=True)
class ReadRows:
    """What was read: rows, and as what. `name` is the file's, for refusals."""

    values: NDArray[Any]
    kind: Kind
    name: str

    def fitted(self, profile: QueryProfile) -> NDArray[Any]:
        """The rows as the model takes them. Raises `FormatError` (format.query); arrays are left as they are."""
        if self.kind == "array":
            return self.values
        shape, dtype = profile.input.shape, np.dtype(profile.input.dtype)
        values = self._in_order(shape)
        if self.kind == "images" and dtype != np.uint8:
            raise self._unfit(f"an array of {dtype}: how an image becomes such numbers is the model's own affair")
        if values.shape[1:] != shape:
            raise self._unfit(f"rows of shape {shape}")
        with np.errstate(all="ignore"):
            cast = values.astype(dtype)
        if dtype.kind != "f" and not np.array_equal(cast.astype(values.dtype), values):
            raise self._unfit(f"numbers that {dtype} has")
        return cast

    def _in_order(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Text in the model's shape, if it has as many numbers; an image with its colours where the model has them."""
        count = len(self.values)
        if self.kind == "text" and self.values.shape[1:] == (int(np.prod(shape, dtype=np.int64)),):
            return self.values.reshape(count, *shape)
        if self.kind == "images" and self.values.ndim == 4 and self.values.shape[1:] != shape:
            return np.moveaxis(self.values, 3, 1)
        if self.kind == "images" and self.values.ndim == 3 and shape[:1] == (1,):
            return self.values[:, np.newaxis]
        return self.values

    def _unfit(self, expected: str) -> FormatError:
        seen = f"{self.values.dtype} of shape {self.values.shape} in {self.name}"
        return FormatError("format.query", expected=expected, seen=seen)


def read_rows(source: Path, column: str | None = None) -> ReadRows:
    """The rows of a file or folder. Raises `FormatError` (format.query) by the name of the file that is no good."""
    if source.is_dir():
        return _read_folder(source, column)
    reader = _READERS.get(source.suffix.lower())
    if reader is None:
        raise FormatError("format.query", expected=f"a folder, or one of {', '.join(ENDINGS)}", seen=source.name)
    return reader(source, column)


def _read_folder(folder: Path, column: str | None) -> ReadRows:
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in ENDINGS)
    read = [read_rows(path, column) for path in files]
    kinds = {(one.kind, one.values.dtype, one.values.shape[1:]) for one in read}
    if len(kinds) != 1:
        seen = f"{len(files)} files of {len(kinds)} kinds or shapes"
        raise FormatError("format.query", expected=f"a folder with files of one kind and shape ({ENDINGS})", seen=seen)
    return ReadRows(np.concatenate([one.values for one in read]), read[0].kind, folder.name)


def _read_arrays(source: Path, column: str | None) -> ReadRows:
    try:
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return ReadRows(loaded, "array", source.name)
        with loaded:
            names = loaded.files if column is None else [column]
            if len(names) != 1:
                raise FormatError("format.query", expected="`--column` with one of the file's columns", seen=names)
            rows: NDArray[Any] = loaded[names[0]]
            return ReadRows(rows, "array", source.name)
    except (*UNREADABLE, KeyError) as cause:
        raise FormatError("format.query", expected="an NPY or NPZ file of plain arrays", seen=source.name) from cause


def _read_text(source: Path, _column: str | None) -> ReadRows:
    try:
        with source.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if line]
        begin = 1 if lines and not _is_number(lines[0][0]) else 0
        values = np.array([[float(value) for value in line] for line in lines[begin:]])
    except (OSError, ValueError, csv.Error) as cause:
        raise FormatError("format.query", expected="lines of as many numbers each", seen=source.name) from cause
    if values.ndim != 2:
        raise FormatError("format.query", expected="lines of as many numbers each", seen=source.name)
    return ReadRows(values, "text", source.name)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_image(source: Path, _column: str | None) -> ReadRows:
    try:
        return ReadRows(read_png(source.read_bytes())[np.newaxis], "images", source.name)
    except (OSError, ValueError) as cause:
        raise FormatError("format.query", expected=f"a PNG image: {cause}", seen=source.name) from cause


_READERS: Final[dict[str, Callable[[Path, str | None], ReadRows]]] = {
    ".npy": _read_arrays,
    ".npz": _read_arrays,
    ".csv": _read_text,
    ".png": _read_image,
}
