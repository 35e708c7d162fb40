"""All checks in their order; one that fails in a way that nobody foresaw is a finding, too (side: owner)."""

from collections.abc import Callable, Iterator
from pathlib import Path

from client.doctor import machine, stack
from client.events import Examined
from common.errors import Refusal
from deploy.embedded.state import StateDirectory

Check = Callable[[], Examined]


def examine(state: Path, root: Path = Path("/")) -> Iterator[Examined]:
    """One event for each part. `root`: where devices and what the kernel says of itself are looked for."""
    directory = StateDirectory(state)
    checks: dict[str, Check] = {
        "TEE": lambda: machine.tee(root),
        "kernel": machine.kernel,
        "bubblewrap": machine.bubblewrap,
        "seccomp": machine.seccomp,
        "programs": machine.programs,
        "clock": lambda: machine.clock(directory.root),
        "disk": lambda: machine.disk(directory.root),
        "memory": lambda: machine.memory(root),
        "build": lambda: stack.build(directory),
        "services": lambda: stack.services(directory),
        "broker": lambda: stack.broker(directory),
        "redis": lambda: stack.redis(directory),
        "registry": lambda: stack.registry(directory),
        "collateral": lambda: stack.collateral(directory, has_tee=bool(machine.tees(root))),
    }
    for part, check in checks.items():
        yield _made(part, check)


def _made(part: str, check: Check) -> Examined:
    try:
        return check()
    except Refusal as refusal:
        seen = f" ({refusal.seen})" if refusal.seen else ""
        return Examined(part=part, state="mend", told=f"{refusal.code}{seen}", command=refusal.mend)
    except Exception as error:
        return Examined(part=part, state="mend", told=f"could not be examined ({type(error).__name__})")
