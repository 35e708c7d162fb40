"""Plays calls, endings and notes of the table without a sandbox: most of them succeed there (side: library).

A throw-away child in namespaces of its own (user, mount, PID, network, IPC, UTS), with a tmpfs for its files and a copy
of the bundle's code, so that it does the machine no harm: it is no root of this machine, bombs are bounded, and calls
that would do something have arguments that fail once they were let through. What fails there fails for another reason
than our walls: a right that root of a user namespace lacks, or a kernel without that part.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.security.sandbox.attacks import table as t
from tests.security.sandbox.attacks.calls import CALL_NAMES
from tests.security.sandbox.hostile_bundle import memory_tricks

_NAMESPACES: Final = (
    "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--kill-child",
)  # fmt: skip
_SECONDS: Final = 100

_PREPARE: Final = """
set -e
mount -t proc proc /proc || true  # a container may forbid it
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount -t tmpfs -o size=64m tmpfs "$1"
mkdir "$1/scratch" "$1/bundle"
cp "$2"/*.py "$1/bundle"
cd "$1"
shift 2
exec "$@"
"""

_PROGRAM: Final = """
import json, os, sys, tempfile, time
place, root, calls, endings, tricks = json.loads(sys.argv[1])
os.environ.update(TMPDIR=f"{place}/scratch", ATTACK_CONFIGURATION=f"{place}/configuration.json")
sys.path[:0] = [f"{place}/bundle", root]
import attempting, attempts, endings as endings_module, memory_tricks
from common.sandboxed.windows import Windows
from common.sandboxed.wire import Column, Configuration

def memory_file():
    fd = os.memfd_create("window", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 8192)
    return fd

control, completion = os.pipe()
os.write(completion, b"x")
configuration = Configuration(
    "m:M", None, (("t", (4,)),), (Column("x", "int64", (2,), 0),), 1, (4,), "float32", 1, 2, 0, 0, 0, 0, 1,
    control, completion, memory_file(), memory_file(), memory_file(),
)
with open(os.environ["ATTACK_CONFIGURATION"], "wb") as file:
    file.write(configuration.encode())

def in_child(act, seconds):
    "Exit status of a child that does it (None: it did not end), and whether it printed."
    with tempfile.TemporaryFile(dir=place) as file:
        return await_child(act, seconds, file.fileno())

def await_child(act, seconds, said):
    pid = os.fork()
    if pid == 0:
        os.dup2(said, 1)
        os.dup2(said, 2)
        windows = Windows(configuration)
        windows._input = windows._output  # outside, nothing keeps rows and state read-only
        status = act(windows)
        sys.stdout.flush()
        os._exit(int(status))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), os.fstat(said).st_size > 0
        time.sleep(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return None, False

def attempt(name):
    return lambda windows: attempts.attempt(name)

def end(name):
    def act(windows):
        try:
            getattr(endings_module, name)()
        except Exception as error:  # as Python does at the end of a program
            print(error)
            return 1
        return 0
    return act

def note(name):
    def act(windows):
        write, read = memory_tricks.TRICKS[name]
        write(77)
        return bool(read())
    return act

SUCCEEDED = int(attempting.SUCCEEDED)
done = {name: in_child(attempt(name), 20)[0] == SUCCEEDED for name in calls}
done |= {name: in_child(end(name), 1.0) != (0, False) for name in endings}
done |= {name: in_child(note(name), 5)[0] == 1 for name in tricks}
print(json.dumps(done))
"""


def play_unconfined() -> dict[str, bool]:
    """For each attack that means something outside: whether it succeeds there. Raises where namespaces are refused."""
    root = Path(__file__).resolve().parents[4]
    wanted = {attack.name for attack in t.TABLE if attack.outside}
    with tempfile.TemporaryDirectory(prefix="cloister-attacks-") as place:
        asked = [
            place,
            str(root),
            [name for name in CALL_NAMES if name in wanted],
            list(t.ENDINGS),
            list(memory_tricks.TRICKS),
        ]
        python = [sys.executable, "-B", "-c", _PROGRAM, json.dumps(asked)]
        bundle = Path(__file__).resolve().parents[1] / "hostile_bundle"
        command = [*_NAMESPACES, "sh", "-c", _PREPARE, "sh", place, str(bundle), *python]
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"the attacks could not be played outside: {done.stderr[-500:]}")
    outcomes: dict[str, bool] = json.loads(done.stdout)
    return outcomes
