"""Which process of a running stack is which (side: owner; it reads /proc and the supervisor's status).

Each host process and each enclave is named once. A victim is found by the way that leads to it: from the main process
of its service down through command lines, as the process tree of ARCHITECTURE, decision 1 has them.
"""

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.embedded.processes import command_line, descendants_of, start_times
from deploy.embedded.status import StackStatus

_RELAY: Final = r"services\.trainer_enclave\.relay"
_ENCLAVE: Final = r"/boot\.py services\."
_PROVIDER: Final = r"^/python/bin/python3 "
"""The interpreter as it is called inside a sandbox (common/sandbox/workplace); bubblewrap above it names it too."""


@dataclass(frozen=True)
class Victim:
    """A process to kill. `below`: patterns of the command lines on the way down from the service's main process; empty:
    that process itself. `per_job`: it lives as long as a job's slot, not as long as the stack.
    """

    name: str
    service: str
    below: tuple[str, ...] = ()
    per_job: bool = False

    def find(self, status: StackStatus) -> list[int]:
        """The processes of this kind that live now."""
        found = [one.pid for one in status.services if one.name == self.service and one.pid is not None]
        for mark in self.below:
            found = [pid for above in found for pid in descendants_of(above) if re.search(mark, _whole_line(pid))]
        return list(start_times(found))


def _whole_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _launched(name: str, service: str, role: str) -> tuple[Victim, ...]:
    """The launcher and the enclave of a role below a service that starts them itself."""
    way = (f"--role {role} ",)
    return Victim(f"{name} launcher", service, way), Victim(f"{name} enclave", service, (*way, _ENCLAVE))


def _slot_victims() -> tuple[Victim, ...]:
    way = {"relay": _RELAY, "launcher": "--role trainer ", "enclave": _ENCLAVE, "sandbox": _PROVIDER}
    steps = tuple(way.values())
    return tuple(Victim(f"trainer {name}", "trainer", steps[: n + 1], per_job=True) for n, name in enumerate(way))


SERVING: Final = (
    Victim("query front", "query"),
    Victim("query worker", "query-worker"),
    *_launched("query", "query-worker", "query"),
    Victim("query sandbox", "query-worker", ("--role query ", _ENCLAVE, _PROVIDER)),
    Victim("redis", "redis"),
)
"""What answers queries."""

TRAINING: Final = (
    Victim("trainer worker", "trainer"),
    *_slot_victims(),
    Victim("paramserver worker", "paramserver"),
    *_launched("paramserver", "paramserver", "paramserver"),
)
"""What a job runs in."""

COMMON: Final = (
    Victim("rabbitmq", "rabbitmq"),
    Victim("epmd", "epmd"),
    Victim("attestation host", "attestation"),
    *_launched("broker", "attestation", "broker"),
    Victim("witness", "witness"),
    Victim("ingest", "ingest"),
)
"""What both need."""

VICTIMS: Final = {victim.name: victim for victim in (*TRAINING, *COMMON, *SERVING)}


@dataclass(frozen=True)
class ProcessGroup:
    """A process and all below it at one moment, each by number and start time, which name it for good."""

    pid: int
    started: dict[int, int]

    @classmethod
    def of(cls, pid: int) -> "ProcessGroup":
        """The tree below `pid` now."""
        return cls(pid, start_times([pid, *descendants_of(pid)]))

    def kill(self) -> bool:
        """SIGKILL to its head alone; whether it still lived."""
        if start_times([self.pid]).get(self.pid) != self.started.get(self.pid):
            return False
        os.kill(self.pid, signal.SIGKILL)
        return True

    def left(self) -> list[str]:
        """Command lines of those that still live."""
        now = start_times(self.started)
        return [f"{pid} {command_line(pid)}" for pid, at in now.items() if self.started[pid] == at]
