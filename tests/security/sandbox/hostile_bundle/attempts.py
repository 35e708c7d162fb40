# mypy: ignore-errors
"""All attempts by name (side: sandbox)."""

import platform

import attempts_bombs
import attempts_files
import attempts_kernel
import attempts_network
import attempts_processes
import attempts_windows
from attempting import judged

GROUPS = (
    attempts_network, attempts_files, attempts_processes, attempts_kernel, attempts_windows, attempts_bombs,
)  # fmt: skip

ATTEMPTS = {"clock": lambda: None}  # shows that an attempt can succeed
for group in GROUPS if platform.machine() == "x86_64" else ():  # numbers of system calls are x86_64's
    ATTEMPTS |= group.ATTEMPTS


def attempt(name: str) -> float:
    return judged(ATTEMPTS[name])
