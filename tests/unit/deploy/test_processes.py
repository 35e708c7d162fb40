import os
import signal
import subprocess
import sys
import time

from deploy.embedded.processes import descendants_of, start_times
from deploy.embedded.specification import CODE_ROOT

_SWEEPING_SUBREAPER = """
import os, signal, subprocess, sys, time
from deploy.embedded.processes import become_subreaper, children_of, descendants_of, kill_descendants, start_times
become_subreaper()
daemon = '''
import os, signal, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess = __import__("subprocess"); subprocess.Popen(["sleep", "600"])
time.sleep(600)
'''
for _ in range(3):
    subprocess.run([sys.executable, "-I", "-S", "-c", daemon], check=True)
while len(below := start_times(descendants_of(os.getpid()))) != 6:
    time.sleep(0.01)
print(len(start_times(children_of(os.getpid()))), *below, flush=True)
print(kill_descendants(), descendants_of(os.getpid()), flush=True)
"""

_TIED_CHILD = """
import os, signal, subprocess, sys, time
from deploy.embedded.processes import tie_to
child = subprocess.Popen(["sleep", "600"], preexec_fn=tie_to(os.getpid(), signal.SIGKILL), start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def run_python(program: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(CODE_ROOT)}
    return subprocess.Popen([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE, env=environment)


def test_a_subreaper_ends_daemons_in_sessions_of_their_own_and_their_children() -> None:
    with run_python(_SWEEPING_SUBREAPER) as program:
        output, _ = program.communicate(timeout=30)
    first, second = output.decode().splitlines()
    children, *below = map(int, first.split())
    assert (children, len(below)) == (3, 6)
    assert second == "[] []"
    assert start_times(below) == {}


def test_a_tied_child_ends_with_its_parent() -> None:
    with run_python(_TIED_CHILD) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        known = start_times([child])
        assert known.keys() == {child}
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while start_times([child]) == known:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_descendants_name_parents_first() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "sleep 600 & wait"]) as shell:
        deadline = time.monotonic() + 10
        while len(below := descendants_of(shell.pid)) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [pid for pid in descendants_of(os.getpid()) if pid in (shell.pid, *below)] == [shell.pid, *below]
        os.kill(below[0], signal.SIGKILL)


def test_a_process_that_ended_has_no_start_time() -> None:
    process = subprocess.Popen(["/bin/true"])
    deadline = time.monotonic() + 10
    while start_times([process.pid]):  # it is a zombie then
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.wait()
    assert start_times([process.pid]) == {}
