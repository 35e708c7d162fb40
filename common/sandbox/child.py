"""One confined process: start it, send it records, await its bytes, kill it (side: enclave).

A child is the stage, which becomes bubblewrap, which runs Python in the tree. It has two pipes, both never blocking the
enclave: records in, bytes without meaning out. It dies with the enclave: a parent-death signal fires when the *thread*
that started a process ends, so each child has a thread that lives as long as it (and reaps it).
"""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection
from enum import Enum, auto
from pathlib import Path
from typing import IO, Final

from common.errors import ConfinementError
from common.sandbox import stage
from common.sandbox.bubblewrap import command_line
from common.sandbox.interpreter import GPU_ENVIRONMENT
from common.sandbox.seccomp import FilterKind, compile_filter
from common.sandbox.tree import Tree

STAGE: Final = Path(stage.__file__).resolve()
"""Run by path, yet imported above: what an enclave imports is what its snapshot holds."""

DYING_SECONDS: Final = 10.0
"""How long a killed child may take to be gone before the machine is called broken."""

_PIPE_BYTES: Final = 65_536


class Arrival(Enum):
    """What came of waiting for a byte."""

    BYTE = auto()
    GONE = auto()
    LATE = auto()


class Pipes:
    """Control and completion pipe; the enclave's ends do not block."""

    def __init__(self) -> None:
        self.control_fd, self._records = os.pipe2(os.O_CLOEXEC)
        self._completions, self.completion_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._records, False)
        os.set_blocking(self._completions, False)
        self._child_ends_open = self._open = True

    def close_child_ends(self) -> None:
        """After the child has inherited them: what it alone holds ends with it."""
        if self._child_ends_open:
            os.close(self.control_fd)
            os.close(self.completion_fd)
            self._child_ends_open = False

    def send(self, record: bytes) -> bool:
        """False when the child is gone or does not read."""
        if not self._open:
            return False
        self._drop_early_bytes()
        try:
            return os.write(self._records, record) == len(record)
        except OSError:
            return False

    def await_byte(self, deadline: float) -> Arrival:
        """Wait until `deadline` (monotonic seconds) for one byte. Its value is not looked at."""
        if not self._open:
            return Arrival.GONE
        poller = select.poll()
        poller.register(self._completions, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return Arrival.LATE
        return Arrival.BYTE if os.read(self._completions, 1) else Arrival.GONE

    def await_end(self, deadline: float) -> bool:
        """Whether every process that held the child's end is dead by `deadline`."""
        while (arrival := self.await_byte(deadline)) is Arrival.BYTE:
            self._drop_early_bytes()
        return arrival is Arrival.GONE

    def close(self) -> None:
        """Close the enclave's ends."""
        self.close_child_ends()
        if self._open:
            self._open = False
            os.close(self._records)
            os.close(self._completions)

    def _drop_early_bytes(self) -> None:
        try:
            os.read(self._completions, _PIPE_BYTES)
        except BlockingIOError:
            return


class SandboxChild:
    """A started child. `errors` (for the probe only, which runs no provider code) receives bubblewrap's stderr."""

    def __init__(
        self,
        tree: Tree,
        program: tuple[str, ...],
        pipes: Pipes,
        *,
        window_fds: Collection[int] = (),
        errors: IO[bytes] | int = subprocess.DEVNULL,
        niceness: int = 0,
    ) -> None:
        self.pipes, self._niceness = pipes, niceness
        self._closed = False
        filter_fd = _memory_file(compile_filter(FilterKind.GPU_OUTER if tree.gpu_nodes else FilterKind.OUTER))
        command = command_line(
            program,
            filter_fd=filter_fd,
            scratch=tree.scratch_bytes > 0,
            devices=tree.gpu_nodes,
            environment=GPU_ENVIRONMENT if tree.gpu_nodes else None,
        )
        description_fd = _memory_file(tree.describe(command))
        inherited = (description_fd, filter_fd, pipes.control_fd, pipes.completion_fd, *window_fds)
        started = threading.Event()
        self._pidfd = -1
        self.exit_status: int | None = None
        self._keeper = threading.Thread(
            target=self._keep, args=(description_fd, inherited, errors, started), name="sandbox-keeper", daemon=True
        )
        self._keeper.start()
        started.wait()
        os.close(filter_fd)
        os.close(description_fd)
        pipes.close_child_ends()
        if self._pidfd < 0:
            pipes.close()
            raise ConfinementError("confinement.failed", seen="the stage did not start")

    def _keep(
        self, description_fd: int, inherited: tuple[int, ...], errors: IO[bytes] | int, started: threading.Event
    ) -> None:
        """The keeper's life: start, then wait until the child is dead."""
        command = [sys.executable, "-I", "-S", "-B", *_bytecode_option(), str(STAGE)]
        command += [str(description_fd), str(os.getpid())]
        try:
            if self._niceness:  # of this thread alone, and inherited
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, env={}, cwd="/",
                pass_fds=inherited, start_new_session=True,
            )  # fmt: skip
            self._pidfd = os.pidfd_open(process.pid)
        except OSError:
            return
        finally:
            started.set()
        self.exit_status = process.wait()

    def kill(self) -> None:
        """Kill it with all that runs in it, wait until it is gone, and close the pipes. Idempotent.

        Raises `ConfinementError` (confinement.failed) when it does not die, which only a broken kernel does.
        """
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        deadline = time.monotonic() + DYING_SECONDS
        gone = self.pipes.await_end(deadline)
        self._keeper.join(max(0.0, deadline - time.monotonic()))
        os.close(self._pidfd)
        self.pipes.close()
        if not gone or self._keeper.is_alive():
            raise ConfinementError("confinement.failed", seen="a killed sandbox is still alive")


def _bytecode_option() -> tuple[str, ...]:
    """The stage reads the bytecode that the enclave reads (common/enclave/bytecode), not what lies beside a source."""
    return ("-X", f"pycache_prefix={sys.pycache_prefix}") if sys.pycache_prefix else ()


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("description", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
