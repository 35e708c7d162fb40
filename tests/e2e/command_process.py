"""The command `cloister` in a process of its own, as a person runs it once the environment is there (side: owner)."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.embedded.specification import CODE_ROOT


def start(*words: object) -> "subprocess.Popen[str]":
    """A command that runs; what it prints comes through a pipe."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CLOISTER_")}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "client.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**own, "PYTHONPATH": str(CODE_ROOT)},
    )


def cloister(*words: object) -> str:
    """What a command prints that succeeds. A caller who gives up kills it."""
    with start(*words) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    assert process.returncode == 0, output
    return output


def naming(place: Path) -> list[int]:
    """Processes that name a path in their arguments or their environment: those of the stack whose state lies there."""
    word = os.fsencode(place)
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found
