"""Servers that are started beside the stack: where they listen, and their end (side: owner)."""

import contextlib
import os
import signal
import socket
import subprocess
from typing import Final

from deploy.embedded.processes import descendants_of, start_times

STOP_SECONDS: Final = 20.0


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def stop_tree(process: "subprocess.Popen[bytes]", seconds: float = STOP_SECONDS) -> None:
    """End it and all that was started below it, by number and start time, and no other process."""
    members = start_times([process.pid, *descendants_of(process.pid)])
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    for pid, at in start_times(members).items():
        if members[pid] == at:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait(seconds)
