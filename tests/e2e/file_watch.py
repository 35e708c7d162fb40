"""Files as a host reads them, again and again while they change (side: host).

A file that only grew is kept from a little before where it ended, so that watching a log costs what is written to it.
"""

import contextlib
import os
import stat
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from common.crypto.digests import sha256

SAMPLE_SECONDS: Final = 0.5
LARGEST_FILE: Final = 64 << 20
_OVERLAP: Final = 64 << 10
"""What is read again of a file that grew: more than any marker, in any rendering, takes."""

Paths = Callable[[], Iterator[Path]]


@dataclass
class Versions:
    """What was read of files so far, by a name of theirs; each content is kept once."""

    _last: dict[str, tuple[tuple[int, ...], bytes]] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _kept: list[tuple[str, bytes]] = field(default_factory=list)

    def read(self, name: str, path: Path) -> None:
        """Read a regular file if it changed since the last time; one that goes away meanwhile was read before."""
        with contextlib.suppress(OSError):
            found = path.stat()
            state = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            before, old = self._last.get(name, ((), b""))
            if stat.S_ISREG(found.st_mode) and state != before and found.st_size <= LARGEST_FILE:
                content = path.read_bytes()
                self._last[name] = (state, content)
                self._keep(name, content, old)

    def _keep(self, name: str, content: bytes, old: bytes) -> None:
        new = content[max(0, len(old) - _OVERLAP) :] if old and content.startswith(old) else content
        digest = sha256(new)
        if digest not in self._seen:
            self._seen.add(digest)
            self._kept.append((name, new))

    def contents(self) -> list[tuple[str, bytes]]:
        """Name and content of every version."""
        return list(self._kept)


class FileWatch:
    """Groups of files, sampled on a thread and once more on each `sample`."""

    def __init__(self, groups: dict[str, Paths]) -> None:
        self._groups = groups
        self._versions: defaultdict[str, Versions] = defaultdict(Versions)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="file-watch", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def open(cls, groups: dict[str, Paths]) -> Iterator["FileWatch"]:
        """Watch from now on, until the end of the block."""
        watch = cls(groups)
        watch._thread.start()
        try:
            yield watch
        finally:
            watch._stopped.set()
            watch._thread.join()

    def sample(self) -> None:
        """Read what changed."""
        with self._lock:
            for group, paths in self._groups.items():
                for path in paths():
                    self._versions[group].read(str(path), path)

    def contents(self, group: str) -> list[tuple[str, bytes]]:
        """Path and content of every version of every file of a group."""
        self.sample()
        return self._versions[group].contents()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.sample()
            self._stopped.wait(SAMPLE_SECONDS)


def below(directory: Path, *, without: Collection[str] = ()) -> Paths:
    """All files below a directory, but not those in its folders of these names."""

    def walk() -> Iterator[Path]:
        for folder, folders, names in os.walk(directory):
            if Path(folder) == directory:
                folders[:] = [name for name in folders if name not in without]
            yield from (Path(folder, name) for name in names)

    return walk


def top_of(directories: Callable[[], Iterable[Path]]) -> Paths:
    """The files that lie directly in these directories."""

    def walk() -> Iterator[Path]:
        for directory in directories():
            with contextlib.suppress(OSError):
                yield from (path for path in directory.iterdir() if path.is_file())

    return walk


def new_in(directories: tuple[Path, ...], since: float, excluded: Path) -> Paths:
    """Files that appeared or changed in these directories since a time, without what lies below `excluded`."""

    def walk(directory: Path) -> Iterator[Path]:
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_symlink() or excluded.is_relative_to(entry.path):
                    continue
                if _changed_since(entry, since):
                    path = Path(entry.path)
                    yield from walk(path) if entry.is_dir() else (path,)

    return lambda: (path for directory in directories for path in walk(directory))


def _changed_since(entry: "os.DirEntry[str]", since: float) -> bool:
    """False of one that is gone meanwhile: others make and remove theirs beside it."""
    with contextlib.suppress(OSError):
        return entry.stat(follow_symlinks=False).st_mtime >= since
    return False
