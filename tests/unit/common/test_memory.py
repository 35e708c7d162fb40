"""Memory that is freed is kept for what comes next, so the kernel need not fill pages anew each time."""

import resource
import subprocess
import sys

import pytest

from client.measuring import CODE_ROOT

PROGRAM = """
import resource, sys
from common.memory import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def bodies():
    for _ in range(200):
        one = bytes(1 << 18) + b"x"
        two = one + b"y"
        three = one + two
        del one, two, three

bodies()
before = faults()
bodies()
print(faults() - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], cwd=CODE_ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's settings")
def test_pages_are_filled_once() -> None:
    assert faults("keep") < 200 * (1 << 18) // resource.getpagesize() // 10 < faults("leave")
