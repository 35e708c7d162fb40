"""What provider code may use up on an owner's data, at most (side: library).

Bounds only tighten the sandbox's standard limits (common/sandbox/protocol, `SandboxLimits`), under the same names; None
leaves the standard. Those of a job are the tightest of all its owners' accepted and newest policies.
"""

from typing import Annotated, Final

from pydantic import Field

from common.messages.base import Message

LEAST_MEMORY_BYTES: Final = 512 << 20
"""With less, torch is not sure to start (tests/security/sandbox/test_sandbox_bounds.py)."""

LEAST_THREADS: Final = 4
"""Tasks that an idle sandbox has: interpreter, and what torch starts beside it."""


class SandboxBounds(Message):
    """`memory_bytes`: writable private memory. `threads`: tasks, those of libraries included. `file_bytes`: scratch
    space while training. `cpu_seconds`: CPU time of one process of it (ARCHITECTURE, decision 41).
    """

    memory_bytes: Annotated[int, Field(ge=LEAST_MEMORY_BYTES, le=1 << 44)] | None = None
    threads: Annotated[int, Field(ge=LEAST_THREADS, le=1 << 16)] | None = None
    file_bytes: Annotated[int, Field(ge=1 << 20, le=1 << 44)] | None = None
    cpu_seconds: Annotated[int, Field(ge=60, le=1 << 32)] | None = None
