"""The sandboxes of a job once more, with a child that tells what happens in it (side: owner).

What differs from a job's sandbox stands in `WatchedPlace` and nowhere else: one more window, the child's program, the
filter that tells what it refuses. Tree, namespaces, limits, windows and the enclave's end are the job's own code.
"""

from pathlib import Path
from typing import Any, Final

from client.checking.telling import TOLD_BYTES, told
from common.bundle import BundleContents
from common.sandbox.child import Pipes
from common.sandbox.interpreter import COMMAND
from common.sandbox.protocol import SandboxLimits, SandboxSeeds
from common.sandbox.seccomp import FilterKind, compile_filter
from common.sandbox.tree import Tree, provider_tree, random_device
from common.sandbox.windows import Window
from common.sandbox.workplace import Work, Workplace

MODULES: Final = ("child.py", "telling.py")
_CODE: Final = "/code/client/checking"
_TELLING_FILE: Final = "/telling"  # as in `child`, which imports torch
_MAIN: Final = {"training_process": "train", "query_process": "answer", "export_process": "export"}
_PROGRAM: Final = "import sys; sys.path[:0] = ['/code', '/packages']; from client.checking.child import {0}; {0}()"


class WatchedPlace(Workplace):
    """A `Workplace` whose child tells."""

    def __init__(self, contents: BundleContents, work: Work, seeds: SandboxSeeds, limits: SandboxLimits) -> None:
        self._telling = Window(TOLD_BYTES, writable_in_child=True)
        self._taken, self._lines = 0, list[dict[str, Any]]()
        super().__init__(contents, work, seeds, limits)

    def take_told(self) -> list[dict[str, Any]]:
        """What was told since the last time."""
        self._read()
        new, self._taken = self._lines[self._taken :], len(self._lines)
        return new

    def close(self) -> None:
        """As ever; what was told can still be taken."""
        super().close()
        self._read()
        self._telling.close()

    def _read(self) -> None:
        if not self._telling.closed:
            self._lines = told(bytes(self._telling.copy(TOLD_BYTES)))

    def _program(self) -> tuple[str, ...]:
        return (*COMMAND, _PROGRAM.format(_MAIN[self._work.program]))

    def _window_fds(self) -> tuple[int, ...]:
        return (*super()._window_fds(), self._telling.child_fd)

    def _tree(self, pipes: Pipes) -> Tree:
        scratch_bytes = self._limits.file_bytes if self._work.inner_filter is FilterKind.TRAINING else 0
        inner_filter = compile_filter(self._work.inner_filter, tells=True)
        configuration, randomness = self._configuration(pipes).encode(), random_device(self._seeds)
        tree = provider_tree(self._contents.files, configuration, inner_filter, randomness=randomness)
        return Tree(tree.binds, {**tree.files, **self._own_files()}, scratch_bytes)

    def _own_files(self) -> dict[str, bytes]:
        folder = Path(__file__).parent
        files = {f"{_CODE}/{name}": (folder / name).read_bytes() for name in MODULES}
        packages = {f"{place}/__init__.py": b"" for place in ("/code/client", _CODE)}
        return files | packages | {_TELLING_FILE: str(self._telling.child_fd).encode()}
