"""Which process of a running stack is which (side: owner; it reads /proc and the supervisor's status).

Each kind of process that a stack has while a job runs is named once; `unnamed` finds one that is not. A victim is found
by the way that leads to it: from the main process of its service down through command lines, as the process tree of
ARCHITECTURE, decision 1 has them.
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

_CONFINER: Final = r"^\S+/bwrap |/common/sandbox/stage\.py "
"""bubblewrap, twice around each sandbox, and the stage that becomes it. The outer one, which is older, is killed."""

_OF_RABBITMQ: Final = r"^erl_child_setup |/inet_gethost |rabbit_disk_monitor"
"""What RabbitMQ's virtual machine starts. The oldest, which is killed, starts the others."""


@dataclass(frozen=True)
class Victim:
    """A process to kill. `below`: patterns of the command lines on the way down from the service's main process; empty:
    that process itself. `per_job`: it lives as long as a job's slot, not as long as the stack. `service` may also be
    `supervisor` or `guardian`.
    """

    name: str
    service: str
    below: tuple[str, ...] = ()
    per_job: bool = False

    def find(self, status: StackStatus) -> list[int]:
        """The processes of this kind that live now."""
        heads = {one.name: one.pid for one in status.services}
        heads |= {"supervisor": status.supervisor_pid, "guardian": status.guardian_pid}
        found = [pid for pid in (heads.get(self.service),) if pid is not None]
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
    slot = [Victim(f"trainer {name}", "trainer", steps[: n + 1], per_job=True) for n, name in enumerate(way)]
    return *slot, Victim("trainer confiner", "trainer", (*steps[:-1], _CONFINER), per_job=True)


SERVING: Final = (
    Victim("query front", "query"),
    Victim("query worker", "query-worker"),
    *_launched("query", "query-worker", "query"),
    Victim("query sandbox", "query-worker", ("--role query ", _ENCLAVE, _PROVIDER)),
    Victim("query confiner", "query-worker", ("--role query ", _ENCLAVE, _CONFINER)),
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
    Victim("rabbitmq helper", "rabbitmq", (_OF_RABBITMQ,)),
    Victim("epmd", "epmd"),
    Victim("attestation host", "attestation"),
    *_launched("broker", "attestation", "broker"),
    Victim("witness", "witness"),
    Victim("ingest", "ingest"),
)
"""What both need."""

VICTIMS: Final = {victim.name: victim for victim in (*TRAINING, *COMMON, *SERVING)}
"""What the supervisor brings back."""

KEEPERS: Final = {name: Victim(name, name) for name in ("supervisor", "guardian")}
"""With one of them the whole stack ends; the next start carries on."""

REPORTING: Final = frozenset({victim.name for victim in TRAINING if victim.service == "paramserver"} | KEEPERS.keys())
"""A job's last report is on its way through these, and lost when one of them dies then."""


def unnamed(status: StackStatus) -> set[tuple[int, int]]:
    """Processes of the stack that are no victim, each by number and start time."""
    heads = KEEPERS["guardian"].find(status)
    everything = start_times(pid for head in heads for pid in (head, *descendants_of(head)))
    named = {pid for victim in (*VICTIMS.values(), *KEEPERS.values()) for pid in victim.find(status)}
    return {(pid, at) for pid, at in everything.items() if pid not in named}


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
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended in between
            return False
        return True

    def left(self) -> list[str]:
        """Command lines of those that still live."""
        now = start_times(self.started)
        return [f"{pid} {command_line(pid)}" for pid, at in now.items() if self.started[pid] == at]
