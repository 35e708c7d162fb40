"""common/sandboxed/landlock alone, without any other wall around it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.sandboxed import landlock
from common.sandboxed.landlock import landlock_abi

ROOT = Path(__file__).resolve().parents[4]

PROGRAM = """
import ctypes, os, socket, sys
root, scratch, outside, parent = sys.argv[1:]
sys.path.insert(0, root)
from common.sandboxed import landlock
landlock.SCRATCH_FOLDER = scratch
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, which bubblewrap sets
landlock.restrict_files(scratch=True)

def tcp():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))

def abstract():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect("\\0" + os.path.basename(scratch))

acts = {
    "read": lambda: open(outside).close(),
    "scratch": lambda: open(f"{scratch}/new", "w").close(),
    "null": lambda: open("/dev/null", "w").close(),
    "write": lambda: open(outside, "a").close(),
    "remove": lambda: os.unlink(outside),
    "execute": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "tcp": tcp, "abstract": abstract,
    "signal": lambda: os.kill(int(parent), 0),
}
done = []
for name, act in acts.items():
    try:
        act()
        done.append(name)
    except PermissionError:
        pass
print(*done)
"""


@pytest.mark.skipif(landlock_abi() < 6, reason="a kernel with Landlock ABI 6 (Linux 6.12)")
def test_only_reading_and_scratch_are_left(tmp_path: Path) -> None:
    scratch, outside = tmp_path / "scratch", tmp_path / "outside"
    scratch.mkdir()
    outside.write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + scratch.name)
        listening.listen()
        command = [sys.executable, "-c", PROGRAM, str(ROOT), str(scratch), str(outside), str(os.getpid())]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["read", "scratch", "null"]


def test_a_kernel_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "landlock_abi", lambda: 0)
    landlock.restrict_files(scratch=True)  # there is no scratch folder here: it would raise if it tried
