"""Can this machine confine at all? Asked once, by confining something harmless (side: enclave).

The probe runs Python in the very tree, namespaces and filter that provider code would get, without provider code. What
bubblewrap or the stage say when it fails decides which refusal names the command that helps.
"""

import functools
import os
import time
from typing import Final

from common.enclave.gramine import is_gramine
from common.errors import ConfinementError
from common.sandbox.child import Arrival, Pipes, SandboxChild
from common.sandbox.interpreter import COMMAND
from common.sandbox.tree import plain_tree
from common.sandbox.windows import Window
from common.sandboxed.landlock import landlock_abi

PROBE_SECONDS: Final = 30.0

_NAMESPACE_COMPLAINTS: Final = (
    "new namespace",
    "unshare",
    "user namespace",
    "uid_map",
    "uid map",
    "setgroups",
    "mount: ",
)
"""Words of bubblewrap 0.8 and of the stage when the machine forbids namespaces."""


def sandbox_walls() -> str:
    """Which of the walls that not every machine has stand here, in words."""
    if is_gramine():
        return "WebAssembly alone: no native code of a provider's runs here"
    abi = landlock_abi()
    return f"namespaces, seccomp, {f'Landlock (ABI {abi})' if abi else 'no Landlock'}; limits are rlimits only"


@functools.cache
def require_confinement() -> None:
    """Return once this machine has confined a process. Raises `ConfinementError` with the code of what is missing.

    Under Gramine there is nothing to try: provider code is refused by whoever would start it (`enclosed`).
    """
    if is_gramine():
        return
    require_sealed_memory()
    pipes = Pipes()
    program = (*COMMAND, f"import os; os.write({pipes.completion_fd}, b'.')")
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        with os.fdopen(writer, "wb") as errors:
            child = SandboxChild(plain_tree({}), program, pipes, errors=errors)
        arrival = pipes.await_byte(time.monotonic() + PROBE_SECONDS)
        child.kill()
        said = os.read(reader, 4096).decode(errors="replace")
    finally:
        os.close(reader)
    if arrival is not Arrival.BYTE:
        raise explain_failure(said)


def require_sealed_memory() -> None:
    """Raises `ConfinementError` where the kernel can't seal a window against its child."""
    try:
        Window(1, writable_in_child=False).close()
    except OSError as cause:
        raise ConfinementError("confinement.failed", expected="sealed memory files (Linux 5.1)") from cause


def explain_failure(said: str) -> ConfinementError:
    """The refusal for what bubblewrap or the stage said last."""
    last = "".join(said.strip().splitlines()[-1:])
    if any(words in said for words in _NAMESPACE_COMPLAINTS):
        return ConfinementError("confinement.user_namespaces", seen=last)
    return ConfinementError("confinement.failed", expected="a confined process", seen=last)
