"""The relay as a process: what it says when it is refused, and that it ends with its parent."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

from services.trainer_enclave.relay import EXIT_REFUSED

ROOT = Path(__file__).parents[4]
CHILD = """
import subprocess, sys, os
child = subprocess.Popen([sys.executable, "-c", '''
import os, sys, time
from common.untrusted.parent_watch import end_with
end_with(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(60)
''', str(os.getpid())])
child.wait()
"""


def test_an_unknown_job_is_refused_with_its_code(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.touch(mode=0o600)
    settings.write_text(json.dumps({
        "listen_port": 0, "database_url": f"sqlite:///{tmp_path}/registry.sqlite", "amqp_url": "amqp://127.0.0.1:1/",
        "object_directory": str(tmp_path), "attestation_url": "http://127.0.0.1:1", "launcher": "/nowhere",
    }))  # fmt: skip
    command = [sys.executable, "-m", "services.trainer_enclave.relay", "--settings", str(settings),
               "--job", "job_" + "0" * 32, "--slot", "0", "--parent", str(os.getpid())]  # fmt: skip
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert ended.returncode == EXIT_REFUSED
    assert ended.stdout == b"not_found.job"
    assert b'"code":"not_found.job"' in ended.stderr


def test_a_relay_ends_with_its_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", CHILD], cwd=ROOT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    descriptor = os.pidfd_open(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    ended, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    assert ended
