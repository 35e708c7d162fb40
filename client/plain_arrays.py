"""NPY and NPZ files that people bring (side: owner)."""

import zlib
from typing import Final
from zipfile import BadZipFile

UNREADABLE: Final = (OSError, EOFError, ValueError, NotImplementedError, BadZipFile, zlib.error)
"""What `numpy.load` and the columns that it gives raise for a file that is empty, cut, damaged or none of theirs."""
