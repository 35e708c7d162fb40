"""One parser, the valid bytes to start from, and how it is judged (side: library)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from common.errors import FormatError

SECONDS: Final = 2.0
"""CPU time after which reading a few kilobytes is a finding. Authentic ones take milliseconds."""


class Finding(Exception):
    """A parser did with some bytes what it must not do with any."""


@dataclass(frozen=True)
class Parser:
    """`read` refuses bytes with one of `refusals`, or returns what it has read, encoded anew.

    It returns None where what it read has no encoding of its own. `canonical`: only one encoding is read, so the new
    one is the old one; of the others (JSON, YAML) the new one must be read, and encode to itself.
    """

    name: str
    read: Callable[[bytes], bytes | None]
    seeds: tuple[bytes, ...]
    refusals: tuple[type[Exception], ...] = (FormatError,)
    canonical: bool = True

    def judge(self, raw: bytes) -> None:
        """Raise `Finding` for another exception, another encoding, or too much time."""
        begun = time.process_time()
        again = self._read(raw)
        if again is not None and self.canonical and again != raw:
            raise Finding(f"{self.name}: reads {again.hex()[:200]} as well")
        if again is not None and self._read(again) != again:
            raise Finding(f"{self.name}: what it encodes reads otherwise: {again!r:.200}")
        if (spent := time.process_time() - begun) > SECONDS:
            raise Finding(f"{self.name}: takes {spent:.1f} s for {len(raw)} bytes")

    def _read(self, raw: bytes) -> bytes | None:
        try:
            return self.read(raw)
        except self.refusals:
            return None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as cause:  # a panic of a library in Rust is no Exception
            raise Finding(f"{self.name}: {type(cause).__name__}: {cause}"[:300]) from cause


def from_hex(*texts: str) -> tuple[bytes, ...]:
    """Seeds of vectors."""
    return tuple(map(bytes.fromhex, texts))
