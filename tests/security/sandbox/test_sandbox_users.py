"""Promise: confinement is the same whoever starts the enclave, wherever Python lives, and ends with the enclave."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.security.sandbox.sandbox_parts import HostileServer, confined

ROOT = Path(__file__).resolve().parents[3]
AS_NOBODY = ("setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups")

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user and mount a home")

REPORT = """
from tests.security.sandbox.attacks.confined import play_queries
print(*(one.attack.name for one in play_queries() if not one.blocked))
"""


def run_python(
    prefix: tuple[str, ...], program: str, executable: str = sys.executable
) -> subprocess.CompletedProcess[str]:
    """Run a program as an enclave is run, isolated and without an environment, with the same folders on its path."""
    folders = [str(ROOT), *(path for path in sys.path if path and Path(path).exists() and path != str(ROOT))]
    prologue = f"import sys; sys.path[:] = {folders!r}\n"
    command = [*prefix, executable, "-I", "-S", "-B", "-c", prologue + program]
    return subprocess.run(command, env={}, cwd="/", capture_output=True, text=True, timeout=100, check=False)


def traversable_script() -> str:
    """Shell lines that make Python and the checkout reachable for everybody, in a private mount namespace."""
    needed = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT}
    lines = ["set -e", "mount --make-rprivate /", "mount -t tmpfs -o mode=755 tmpfs /mnt"]
    closed = {
        place: [folder for folder in reversed(place.parents) if not folder.stat().st_mode & 0o001] for place in needed
    }
    hidden = [(f"/mnt/{number}", place) for number, place in enumerate(sorted(needed)) if closed[place]]
    lines += [f"mkdir {stash}; mount --rbind '{place}' {stash}" for stash, place in hidden]
    for folder in sorted({closed[place][0] for _, place in hidden}):
        lines.append(f"mount -t tmpfs -o mode=755 tmpfs '{folder}'")
    lines += [f"mkdir -p '{place}'; mount --rbind {stash} '{place}'" for stash, place in hidden]
    return "\n".join([*lines, 'exec "$@"'])


@needs_root
def test_an_ordinary_user_confines_alike() -> None:
    prefix = ("unshare", "-m", "sh", "-c", traversable_script(), "sh", *AS_NOBODY)
    readable = run_python(prefix, "import common.sandbox.native, os; print(os.getuid())")
    if readable.stdout != "65533\n":
        pytest.skip(f"this checkout can't be read by another user: {readable.stderr[-200:]}")
    done = run_python(prefix, REPORT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"  # nothing got through


@needs_root
def test_the_interpreter_may_live_under_a_closed_home(tmp_path: Path) -> None:
    python = Path(sys.executable).resolve().relative_to(Path(sys.base_prefix).resolve())
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "python").mkdir()
    script = f"set -e; mount --make-rprivate /; mount --rbind '{sys.base_prefix}' '{home}/python'; exec \"$@\""
    program = (
        "import sys; from common.sandbox.probe import require_confinement; require_confinement(); print(sys.executable)"
    )
    done = run_python(("unshare", "-m", "sh", "-c", script, "sh"), program, f"{home}/python/{python}")
    assert done.stdout.strip() == f"{home}/python/{python}", done.stderr


IN_USER_NAMESPACE = """
import ctypes, os, sys
ready, go = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    ctypes.CDLL(None).unshare(0x10000000 | 0x20000)  # CLONE_NEWUSER | CLONE_NEWNS
    os.write(ready[1], b"x")
    os.read(go[0], 1)
    os.execvp(sys.argv[1], sys.argv[1:])
os.read(ready[0], 1)
for name in ("uid_map", "gid_map"):
    open(f"/proc/{pid}/{name}", "w").write("0 0 65536")
os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
"""Runs a command as root of a user namespace with 65,536 uids, as a container does."""

PROBE = """
from common.errors import ConfinementError
from common.sandbox.probe import require_confinement
try:
    require_confinement()
    print("confined")
except ConfinementError as refusal:
    print(refusal.code)
"""


@needs_root
@pytest.mark.parametrize(
    ("preparation", "outcome"),
    [("true", "confined"), ("echo 0 > /proc/sys/user/max_user_namespaces", "confinement.user_namespaces")],
)
def test_root_of_a_container_confines_or_is_told_why_not(preparation: str, outcome: str) -> None:
    prefix = (sys.executable, "-I", "-c", IN_USER_NAMESPACE, "sh", "-c", f'{preparation}; exec "$@"', "sh")
    done = run_python(prefix, PROBE)
    assert done.stdout == f"{outcome}\n", done.stderr


def test_a_sandbox_dies_with_its_enclave() -> None:
    program = """
import sys, time
from tests.security.sandbox.sandbox_parts import HostileServer, ending
server = HostileServer()
sys.stdout.write("ready\\n"); sys.stdout.flush()
server.query("end", ending("loop"), seconds=600.0)
"""
    folders = [str(ROOT), *(path for path in sys.path if path)]
    enclave = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", f"import sys; sys.path[:] = {folders!r}\n{program}"],
        stdout=subprocess.PIPE,
        env={},
    )
    assert enclave.stdout is not None
    assert enclave.stdout.readline() == b"ready\n"
    inside = psutil.Process(enclave.pid).children(recursive=True)
    assert len(inside) >= 2
    enclave.send_signal(signal.SIGKILL)
    enclave.wait(10)
    enclave.stdout.close()
    _, alive = psutil.wait_procs(inside, timeout=10)
    assert alive == []


def test_a_sandbox_outlives_the_thread_that_started_it() -> None:
    started: list[HostileServer] = []
    thread = threading.Thread(target=lambda: started.append(HostileServer()))
    thread.start()
    thread.join()
    try:
        assert started[0].numbers("echo", 3)[0] == 3.0
    finally:
        started[0].sandbox.close()


def test_closing_leaves_no_process_behind() -> None:
    before = set(confined())
    server = HostileServer()
    inside = set(confined()) - before
    assert inside
    server.sandbox.close()
    server.sandbox.close()
    assert set(confined()) & inside == set()
