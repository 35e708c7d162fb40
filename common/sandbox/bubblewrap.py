"""bubblewrap's command line: every namespace, no capability, nothing writable but the scratch folder (side: enclave).

It runs on the tree that the stage has built. Nothing of the provider's is in it: command lines are public on a host.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from common.errors import ConfinementError
from common.sandbox.interpreter import ENVIRONMENT
from common.sandboxed.wire import SCRATCH_FOLDER, THREAD_FOLDER

TREE_FOLDER: Final = "/tmp/tree"
"""Where the stage builds the tree, in a mount namespace of its own."""

DEVICES: Final = ("/dev/null",)
"""All devices, but those of a GPU where one is ordered. No terminals, no shared memory folder; /dev/zero, mapped
shared, is memory that no limit counts."""

_PLACES: Final = ("/usr/bin/bwrap", "/bin/bwrap", "/usr/local/bin/bwrap")
_NOBODY: Final = "65534"


def find_bubblewrap() -> str:
    """Its path; an enclave has no PATH. Raises `ConfinementError` (confinement.bubblewrap)."""
    for place in _PLACES:
        if Path(place).is_file():
            return place
    raise ConfinementError("confinement.bubblewrap")


def command_line(
    program: tuple[str, ...],
    *,
    filter_fd: int,
    scratch: bool,
    devices: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> list[str]:
    """The command that runs `program` in the tree, under the outer filter that `filter_fd` holds.

    `devices`, `environment`: of a GPU, nodes and variables beside those that every sandbox has.
    """
    command = [
        find_bubblewrap(),
        "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup",
        "--disable-userns", "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "sandbox", "--cap-drop", "ALL",
        "--die-with-parent", "--new-session",
        "--ro-bind", TREE_FOLDER, "/",
    ]  # fmt: skip
    for device in (*DEVICES, *devices):
        command += ["--dev-bind", f"{TREE_FOLDER}{device}", device]
    if scratch:
        places = (SCRATCH_FOLDER, THREAD_FOLDER) if devices else (SCRATCH_FOLDER,)
        for place in places:
            command += ["--bind", f"{TREE_FOLDER}{SCRATCH_FOLDER}", place]
    command += ["--chdir", "/", "--clearenv"]
    for name, value in {**ENVIRONMENT, **(environment or {})}.items():
        command += ["--setenv", name, value]
    return [*command, "--seccomp", str(filter_fd), "--", *program]
