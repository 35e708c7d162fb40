"""Many starts of one bundle's training sandbox for the price of one import of torch (side: owner).

Importing torch takes three seconds of a core, more than all else that a short job does. So the confined process here is
a zygote, as the query sandbox's is: it imports torch and forks once for each job; the child goes on as a training
sandbox does, from its limits and its inner filter on, with windows and pipes that were made ahead. What differs from
the product: the import is not part of the job, and a child that is ended sees its pipe end instead of a signal.
"""

from typing import Final

from common.bundle import BundleContents
from common.sandbox.child import Pipes, SandboxChild
from common.sandbox.interpreter import COMMAND
from common.sandbox.native import DEFAULT_LIMITS, NativeTrainingSandbox, training_work
from common.sandbox.protocol import STARTUP_SECONDS, SandboxSeeds
from common.sandbox.seccomp import compile_filter
from common.sandbox.tree import provider_tree, random_device
from common.sandbox.workplace import Workplace

_ZYGOTE: Final = """
import ctypes, os, signal, sys
sys.path[:0] = ['/code', '/packages']
import torch
from common.sandboxed import training_process
torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.write({ready}, b'.')
while one := os.read({launch}, 1):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b'{name}-%d' % one[0])
        training_process.CONFIGURATION_FILE = f'/bundle/place-{{one[0]}}.json'
        try:
            training_process.main()
        finally:
            os._exit(0)
os._exit(0)
"""
"""15 is PR_SET_NAME (prctl(2)). A child whose pipe is gone raises, and what Python does at its end does not end behind
the inner filter: it would compute for ever, beside all jobs that follow."""

SEEDS: Final = SandboxSeeds(1, 2)
MOST_PLACES: Final = 40
"""Each has five descriptors, and a sandbox may have 256 (common/sandboxed/lockdown)."""


class _PooledChild(SandboxChild):
    """A child that the zygote forks; it ends with its pipe."""

    def __init__(self, pipes: Pipes) -> None:
        self.pipes = pipes

    def kill(self) -> None:
        self.pipes.close()


class _PooledPlace(Workplace):
    """Windows and pipes of a child that is not there yet."""

    def _start(self) -> SandboxChild:
        self.child_pipes = Pipes()
        return _PooledChild(self.child_pipes)

    def configuration(self) -> bytes:
        """What its child reads at its start."""
        return self._configuration(self.child_pipes).encode()

    def inherited(self) -> tuple[int, ...]:
        """Descriptors of the child."""
        return (self.child_pipes.control_fd, self.child_pipes.completion_fd, *self._window_fds())


class SandboxPool:
    """A zygote and `count` places; `name` begins the names of its children. Raises `ConfinementError`.

    Use it from the thread that made it, or after a fork.
    """

    def __init__(self, contents: BundleContents, rows_per_round: int, name: str, count: int = MOST_PLACES) -> None:
        self._contents, self._rows, self._name = contents, rows_per_round, name
        work = training_work(contents.manifest, rows_per_round)
        self._places = [_PooledPlace(contents, work, SEEDS, DEFAULT_LIMITS) for _ in range(count)]
        self._next = 0
        self._pipes = Pipes()
        documents = {f"place-{number}.json": place.configuration() for number, place in enumerate(self._places)}
        tree = provider_tree(
            dict(contents.files) | documents, self._places[0].configuration(), compile_filter(work.inner_filter),
            randomness=random_device(SEEDS), scratch_bytes=DEFAULT_LIMITS.file_bytes,
        )  # fmt: skip
        code = _ZYGOTE.format(name=name, ready=self._pipes.completion_fd, launch=self._pipes.control_fd)
        fds = tuple(fd for place in self._places for fd in place.inherited())
        self._zygote = SandboxChild(tree, (*COMMAND, code), self._pipes, window_fds=fds)
        for place in self._places:
            place.child_pipes.close_child_ends()

    def await_ready(self, deadline: float) -> None:
        """Wait until torch is imported. Raises `RuntimeError`."""
        if self._pipes.await_byte(deadline).name != "BYTE":
            raise RuntimeError("the zygote of a sandbox did not come up")

    @property
    def next_name(self) -> str:
        """Of the process that the next child is, for who looks at processes."""
        return f"{self._name}-{self._next}"

    @property
    def used_up(self) -> bool:
        """Whether no place is left."""
        return self._next == len(self._places)

    def start(self, rows_per_round: int) -> NativeTrainingSandbox:
        """The sandbox of the next place, in the process that has it to itself since a fork. Raises `RuntimeError`."""
        if rows_per_round != self._rows:
            raise ValueError("the zygote was made for another schedule")
        place = self._places[self._next]
        self._pipes.send(bytes([self._next]))
        if place.await_ready(STARTUP_SECONDS).name != "BYTE":
            raise RuntimeError("a sandbox did not start")
        return NativeTrainingSandbox(self._contents, place, rows_per_round)

    def pass_on(self) -> None:
        """After the fork, in the parent: the next place belongs to the child, and its pipe ends with that."""
        self._places[self._next].close()
        self._next += 1

    def keep_out(self, *, but_next: bool) -> None:
        """After the fork, in the child: let go of places that belong to others."""
        for place in self._places[self._next + but_next :]:
            place.child_pipes.close()

    def close(self) -> None:
        """End the zygote."""
        for place in self._places[self._next :]:
            place.close()
        self._zygote.kill()
