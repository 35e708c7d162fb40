"""What a watched child tells the machine that checks it: lines of JSON in one window (side: sandbox, owner).

    bytes 0 to 7     how many bytes of lines follow, little-endian
    then             one JSON object a line: {"kind": ..., ...}

What does not fit is dropped. The checker takes nothing in it for a verdict: provider code could write there, too.
"""

import json
import mmap
import struct
import sys
import traceback
from types import FrameType
from typing import Any, Final

TOLD_BYTES: Final = 1 << 20
LONGEST_TEXT: Final = 16_384
"""Of a traceback or of what was printed at once: its end, which says most."""

BUNDLE: Final = "/bundle/"

_USED: Final = struct.Struct("<Q")


class Telling:
    """The child's end, in memory that it shares with its own children and with the checker."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory

    def tell(self, kind: str, **fields: Any) -> None:
        """Add a line, if it fits."""
        line = json.dumps({"kind": kind, **fields}).encode() + b"\n"
        begin = _USED.size + _USED.unpack_from(self._memory)[0]
        if begin + len(line) <= len(self._memory):
            self._memory[begin : begin + len(line)] = line
            _USED.pack_into(self._memory, 0, begin + len(line) - _USED.size)

    def raised(self) -> None:
        """The exception that is being handled, as Python shows it; only its frames in provider code, and the last."""
        kind, error, trace = sys.exc_info()
        shown = traceback.TracebackException(kind or Exception, error or Exception(), trace)
        frames = [one for one in shown.stack if one.filename.startswith(BUNDLE)]
        shown.stack = traceback.StackSummary.from_list(frames or shown.stack[-1:])
        text = "".join(shown.format()).replace(BUNDLE, "")
        self.tell("raised", error=type(error).__name__, text=text[-LONGEST_TEXT:])


def told(raw: bytes) -> list[dict[str, Any]]:
    """The lines of a window; what is no JSON object is left out."""
    used = min(_USED.unpack_from(raw)[0], len(raw) - _USED.size)
    lines = []
    for line in raw[_USED.size : _USED.size + used].splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            continue
        if isinstance(read, dict):
            lines.append(read)
    return lines


def place_in_bundle(frame: FrameType | None) -> str | None:
    """`file:line in function` of the innermost frame of provider code; None where there is none."""
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(BUNDLE):
            return f"{name.removeprefix(BUNDLE)}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return None
