"""NPY and NPZ files that people bring (side: owner)."""

import tokenize
import zlib
from typing import Final
from zipfile import BadZipFile

UNREADABLE: Final = (
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
    BadZipFile,
    zlib.error,
)
"""What `numpy.load` and the columns that it gives raise for a file that is empty, cut, damaged or none of theirs.

A header may also state more values than there is memory, or be Python that no parser gets to the end of.
"""
