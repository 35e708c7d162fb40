"""Processes as a host sees them, sampled while they come and go (side: host).

Command lines and environments of all of them. Files that they have open, deleted ones too: of host processes every
regular file; of enclaves and sandboxes only what lies on a file system of the host, because a memfd, or a tmpfs of a
private mount namespace, is memory of the enclave.
"""

import contextlib
import stat
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from deploy.embedded.processes import children_of, parent_table
from tests.e2e.file_watch import Versions

SAMPLE_SECONDS: Final = 0.2
_ENCLAVE: Final = b"/common/enclave/boot.py\0"
_SHARED: Final = ("/", "/tmp", "/var/tmp", "/dev/shm")
_INSTALLED: Final = (sys.prefix, str(Path(sys.prefix).resolve()), sys.base_prefix, "/usr/", "/lib", "/etc/")
"""What is installed is the same before and after; a deleted file below is looked at all the same."""


class ProcessWatch:
    """All processes below some roots. `add` names another root."""

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = set(roots)
        self._devices = {place.stat().st_dev for place in map(Path, _SHARED) if place.is_dir()}
        self._lines: set[tuple[str, bytes]] = set()
        self._environments: set[tuple[str, bytes]] = set()
        self._files = Versions()
        self._sealed: set[int] = set()
        self.directories: set[Path] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="process-watch", daemon=True)

    @classmethod
    @contextlib.contextmanager
    def open(cls, *roots: int) -> Iterator["ProcessWatch"]:
        """Watch from now on, until the end of the block."""
        watch = cls(roots)
        watch._thread.start()
        try:
            yield watch
        finally:
            watch._stopped.set()
            watch._thread.join()

    def add(self, root: int) -> None:
        """Watch this process and what is below it, too."""
        self._roots.add(root)

    def command_lines(self) -> list[tuple[str, bytes]]:
        """Every command line that was seen."""
        self.sample()
        return sorted(self._lines)

    def environments(self) -> list[tuple[str, bytes]]:
        """Every environment that was seen."""
        self.sample()
        return sorted(self._environments)

    def open_files(self) -> list[tuple[str, bytes]]:
        """Every version of every file that was seen open."""
        self.sample()
        return self._files.contents()

    def sample(self) -> None:
        """Look at every process once."""
        with self._lock:
            parents = parent_table()
            found = [pid for root in list(self._roots) for pid in (root, *_below(root, parents))]
            for pid in found:  # parents come before their children
                is_child = parents.get(pid) in self._sealed
                if is_child or _ENCLAVE in _read(pid, "cmdline"):
                    self._sealed.add(pid)
                self._look_at(pid, is_sealed=pid in self._sealed)

    def _look_at(self, pid: int, *, is_sealed: bool) -> None:
        self._lines.add((f"/proc/{pid}/cmdline", _read(pid, "cmdline")))
        self._environments.add((f"/proc/{pid}/environ", _read(pid, "environ")))
        with contextlib.suppress(OSError):
            if not is_sealed:
                self.directories.add(Path(f"/proc/{pid}/cwd").readlink())
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                self._look_into(descriptor, is_sealed=is_sealed)

    def _look_into(self, descriptor: Path, *, is_sealed: bool) -> None:
        with contextlib.suppress(OSError):
            found, name = descriptor.stat(), str(descriptor.readlink())
            if not stat.S_ISREG(found.st_mode) or (is_sealed and found.st_dev not in self._devices):
                return
            if not name.startswith(_INSTALLED) or name.endswith(" (deleted)"):
                self._files.read(f"{name} [{found.st_dev}:{found.st_ino}]", descriptor)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.sample()
            self._stopped.wait(SAMPLE_SECONDS)


def _below(root: int, parents: dict[int, int]) -> list[int]:
    found = [root]
    for pid in found:
        found.extend(children_of(pid, parents))
    return found[1:]


def _read(pid: int, name: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""
