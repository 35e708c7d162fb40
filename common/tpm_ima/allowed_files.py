"""The files that a host may run, as a text that a signed profile names by its digest (side: library).

A line for each: "algorithm:hex path", in the order of their bytes, each once. That is how entries of IMA's list look as
well, so whether a file is allowed is one look into a set.
"""

import re
from collections.abc import Iterable
from typing import Final

from common.crypto.digests import sha256
from common.errors import FormatError
from common.identifiers import Digest

MAX_FILES_BYTES: Final = 64 << 20
_LINE: Final = re.compile(
    rb"(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128}) /(?:[^\x00-\x20/\x7f]+/)*[^\x00-\x20/\x7f]+"
)

_NO_FILE: Final = b":" + 64 * b"0"
"""How the digest of a violation begins, and of no file."""


class AllowedFiles:
    """Claims as `Measured` has them. `digest` is over the text."""

    def __init__(self, claims: frozenset[bytes], digest: Digest) -> None:
        self.claims, self.digest = claims, digest

    @classmethod
    def parse(cls, text: bytes) -> "AllowedFiles":
        """Raises `FormatError` (format.message) for anything but the one text of these files."""
        lines = text.split(b"\n")
        if len(text) > MAX_FILES_BYTES or lines.pop() != b"":
            raise FormatError("format.message", expected=f"lines, of at most {MAX_FILES_BYTES} bytes in all")
        for number, line in enumerate(lines):
            if _LINE.fullmatch(line) is None or _NO_FILE in line or (number and lines[number - 1] >= line):
                raise FormatError("format.message", expected="algorithm:hex /path, sorted, each once", seen=number + 1)
        return cls(frozenset(lines), sha256(text))


def files_text(claims: Iterable[bytes]) -> bytes:
    """The text of these files. Raises `FormatError` (format.message) where one can't be named, e.g. for a blank in
    it.
    """
    text = b"".join(line + b"\n" for line in sorted(set(claims)))
    AllowedFiles.parse(text)
    return text
