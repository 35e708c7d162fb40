"""What this machine has (side: owner: the operator's own machine)."""

import ctypes
import platform
import shutil
import time
from pathlib import Path
from typing import Final

from client.events import Examined
from common.errors import UnavailableError
from common.sandbox.probe import require_confinement, sandbox_walls
from deploy.embedded.installation import PACKAGES, missing_packages

GIB: Final = 1 << 30
DISK_NEEDED: Final = 2 * GIB
"""For sealed objects of small jobs, brokers' files and logs; below it RabbitMQ stops taking messages at 50 MB, and the
key broker can't store its log."""
DISK_WANTED: Final = 10 * GIB
MEMORY_NEEDED: Final = 2 * GIB
"""Two trainers and a query worker import torch (218 MiB each), and train."""

_TEES: Final = {"SGX": "dev/sgx_enclave", "TDX": "dev/tdx_guest", "SEV-SNP": "dev/sev-guest"}
_OLDEST_KERNEL: Final = (5, 4)
"""Sealed memory files (5.1), and what Debian 12 and Ubuntu 20.04 have."""

_TIME_ERROR: Final = 5
"""What adjtimex(2) returns when the clock is not synchronised."""
_TIMEX_BYTES: Final = 512
"""More than `struct timex` has; all zeros ask without changing anything."""

_JUMP_SECONDS: Final = 120.0


def tees(root: Path) -> list[str]:
    """The trusted execution environments whose devices are there."""
    return [name for name, device in _TEES.items() if (root / device).exists()]


def tee(root: Path) -> Examined:
    """None is no fault: the platform is then `simulation`, which protects nobody from this machine's operator."""
    if found := tees(root):
        return Examined(part="TEE", state="ok", told=", ".join(found))
    told = "no TEE: the platform is simulation, and whoever runs this machine can read everything"
    return Examined(part="TEE", state="note", told=told)


def kernel() -> Examined:
    """Its version."""
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    if version < _OLDEST_KERNEL:
        oldest = ".".join(map(str, _OLDEST_KERNEL))
        command = "apt-get install linux-image-amd64, then reboot"
        return Examined(part="kernel", state="mend", told=f"{release} is older than {oldest}", command=command)
    return Examined(part="kernel", state="ok", told=release)


def bubblewrap() -> Examined:
    """Confine something harmless, as provider code would be. Raises `ConfinementError` with what is missing."""
    require_confinement()
    return Examined(part="bubblewrap", state="ok", told=f"it confines: {sandbox_walls()}")


def seccomp() -> Examined:
    """The library behind the filters."""
    try:
        import pyseccomp
    except (ImportError, OSError, RuntimeError):
        command = "apt-get install libseccomp2"
        return Examined(part="seccomp", state="mend", told="libseccomp does not load", command=command)
    pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
    return Examined(part="seccomp", state="ok", told="filters can be made")


def programs() -> Examined:
    """RabbitMQ, Redis and bubblewrap, as the embedded stack needs them."""
    if missing := missing_packages():
        command = f"apt-get install {' '.join(missing)}"
        return Examined(part="programs", state="mend", told=f"no {', '.join(missing)}", command=command)
    return Examined(part="programs", state="ok", told=", ".join(PACKAGES))


def clock(state: Path) -> Examined:
    """Synchronised, and not behind what was written here before: signed requests may be off by 300 s."""
    newest = max((one.stat().st_mtime for one in state.glob("*/*")), default=0.0)
    if newest > time.time() + _JUMP_SECONDS:
        told = f"it is {newest - time.time():.0f} s behind files that were written here"
        return Examined(part="clock", state="mend", told=told, command="timedatectl set-ntp true")
    if ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)) == _TIME_ERROR:
        told = "the kernel does not call it synchronised; beyond 300 s requests are refused (freshness.request)"
        return Examined(part="clock", state="note", told=told, command="timedatectl set-ntp true")
    return Examined(part="clock", state="ok", told="synchronised")


def disk(state: Path) -> Examined:
    """Room where the stack's state lies, or will."""
    place = next(one for one in (state, *state.parents) if one.exists())
    free = shutil.disk_usage(place).free
    told = f"{free / GIB:.1f} GiB free at {place}"
    command = f"make room at {place}, or name another directory: --state DIRECTORY"
    if free < DISK_NEEDED:
        return Examined(part="disk", state="mend", told=told, command=command)
    return Examined(part="disk", state="note" if free < DISK_WANTED else "ok", told=told)


def memory(root: Path) -> Examined:
    """What the kernel calls available. Raises `UnavailableError` where it does not say."""
    fields = (line.split() for line in (root / "proc/meminfo").read_text().splitlines())
    kilobytes = next((int(words[1]) for words in fields if words[0] == "MemAvailable:"), None)
    if kilobytes is None:
        raise UnavailableError("unavailable.service", expected="MemAvailable in /proc/meminfo")
    told = f"{kilobytes / (1 << 20):.1f} GiB available"
    if kilobytes << 10 < MEMORY_NEEDED:
        command = "stop other programs, or lower `capacity` of the workers"
        return Examined(part="memory", state="note", told=told, command=command)
    return Examined(part="memory", state="ok", told=told)
