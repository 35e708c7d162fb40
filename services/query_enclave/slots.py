"""Bodies that are too large for Redis, as files that fronts and workers of one machine share (side: host).

Redis carries a slot's name instead of the body: the query's id, `q` or `a`, and the size. What is in it is as sealed as
what Redis carries, and as little believed. A front frees the slots of its requests when they end, a worker those of
questions that are answered or dropped; what a crash leaves behind is swept when it is older than any question may be.
The directory never holds more than `SLOT_BYTES`, but for one body of each process that writes at the same moment.
"""

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Final, Literal

from common.errors import UnavailableError
from common.identifiers import QueryId

INLINE_BYTES: Final = 16 << 10
"""Bodies up to this size travel in Redis itself: a file costs what copying so much twice through Redis costs."""

SLOT_BYTES: Final = 256 << 20
"""All slots of a directory together: sixteen of the largest queries, or 1,700 images of 224 x 224 pixels."""

SLOTS: Final = 2048
"""Files of a directory; each new one looks at their names."""

EXPIRE_SECONDS: Final = 150
"""Longer than a question or a kept answer lives (streams)."""

SWEEP_SECONDS: Final = 15.0

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
_NAME = re.compile(r"query_[0-9a-f]{32}-[qa]-(?P<size>[0-9]{1,9})")


class Slots:
    """The slots of one directory, which is made, for this user alone, if it is missing."""

    def __init__(self, directory: Path, *, most_bytes: int = SLOT_BYTES) -> None:
        self._directory, self._most_bytes = directory, most_bytes
        self._sweep_at = 0.0
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, query_id: QueryId, kind: Literal["q", "a"], body: bytes) -> str:
        """Keep `body`; its name. The same name again replaces what is there, as a whole.

        Raises `UnavailableError`: unavailable.full when there is no room, unavailable.store when it can't be written.
        """
        name = f"{query_id}-{kind}-{len(body)}"
        self.sweep()
        held = self._held()
        if len(held) >= SLOTS or sum(held) + len(body) > self._most_bytes:
            raise UnavailableError("unavailable.full")
        path, written = self._directory / name, self._directory / f".{name}"
        try:
            with os.fdopen(os.open(written, _NEW, 0o600), "wb") as file:
                file.write(body)
            written.rename(path)
        except OSError as cause:
            with contextlib.suppress(OSError):
                written.unlink()
            raise UnavailableError("unavailable.store") from cause
        return name

    def get(self, name: str) -> bytes | None:
        """What was kept under this name; None for what is there no more, has another size than its name says, or has a
        name that is none of ours.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        try:
            with os.fdopen(os.open(self._directory / name, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                body = file.read(int(match["size"]) + 1)
        except OSError:
            return None
        return body if len(body) == int(match["size"]) else None

    def free(self, name: str | None) -> None:
        """It is needed no more. Also for what is gone, or was none."""
        if name is not None and _NAME.fullmatch(name) is not None:
            with contextlib.suppress(OSError):
                (self._directory / name).unlink()

    def sweep(self, now: float | None = None) -> None:
        """Free what has outlived its question: each `SWEEP_SECONDS` at most, or as of `now` (Unix seconds)."""
        if now is None and time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + SWEEP_SECONDS
        oldest = (time.time() if now is None else now) - EXPIRE_SECONDS
        with os.scandir(self._directory) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < oldest:
                        Path(entry.path).unlink()

    def _held(self) -> list[int]:
        """Sizes of all slots, as their names say."""
        with os.scandir(self._directory) as entries:
            names = [_NAME.fullmatch(entry.name) for entry in entries]
        return [int(match["size"]) for match in names if match is not None]
