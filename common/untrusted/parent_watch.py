"""A child that ends with its parent, however that ends (side: host).

The parent-death signal of Linux is tied to the thread that started the child; watching the process is not.
"""

import os
import select
import signal
import threading


def end_with(parent: int) -> None:
    """Kill this process as soon as the process `parent`, which must be our parent, has ended."""
    try:
        descriptor = os.pidfd_open(parent)
    except ProcessLookupError:
        os.kill(os.getpid(), signal.SIGKILL)
        raise
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch() -> None:
        select.select([descriptor], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
