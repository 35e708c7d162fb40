"""`python -m bench.leak_root WIRE WORKER...`: the process from which all of a leak meter's are forked (side: owner).

It imports what they need once. The numbers are of inherited descriptors: over the first it hears the settings, the
others are the workers'. It ends when they have ended, and they when their other ends are closed.
"""

import socket
import sys
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection

from bench.leak_enclaves import EnclaveSettings, serve_enclaves
from bench.leak_host import serve_jobs
from bench.leak_world import serve_broker


def start(settings: EnclaveSettings, seed: int, works: Sequence[Connection]) -> None:
    """One process of enclaves, and for each worker its own and its broker's; wait for the end of all."""
    context = get_context("fork")
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in works]
    ours, theirs = [one for one, _ in pairs], [one for _, one in pairs]

    def fork_enclaves() -> None:
        _close(ours, works)
        serve_enclaves(settings, theirs)

    enclaves = context.Process(target=fork_enclaves, daemon=True)
    enclaves.start()
    processes = [enclaves]
    for one in theirs:
        one.close()
    for control, work in zip(ours, works, strict=True):
        asks, asked = context.Pipe()
        served = (asked, settings.directory, settings.sides, settings.schedule, seed)
        worked = (work, settings.schedule, asks, control, enclaves.pid)

        def broker(asks: Connection = asks, served: tuple[object, ...] = served) -> None:
            _close(ours, [asks, *works])
            serve_broker(*served)  # type: ignore[arg-type]

        processes += [
            context.Process(target=broker, daemon=True), context.Process(target=serve_jobs, args=worked, daemon=True)
        ]  # fmt: skip
        for process in processes[-2:]:
            process.start()
        for mine in (asks, asked, work, control):
            mine.close()
    for process in processes:
        process.join()


def _close(sockets: Sequence[socket.socket], connections: Sequence[Connection]) -> None:
    for one in sockets:
        one.close()
    for other in connections:
        other.close()


def main() -> None:
    """Entry point."""
    wire, *works = (Connection(int(number)) for number in sys.argv[1:])
    settings, seed = wire.recv()
    start(settings, seed, works)


if __name__ == "__main__":
    main()
