"""A small enclave that shows through its door what it finds around itself (side: enclave)."""

import ctypes
import json
import os
import resource
import socket
import sys
from pathlib import Path

from common.crypto.aead import open_blob, seal_blob
from common.door import Door
from common.enclave.runtime import current_runtime

_LABEL = b"cloister/test/probe"
_PR_GET_DUMPABLE = 3  # linux/prctl.h


def _surroundings(_: bytes) -> bytes:
    descriptors = {path.name: str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
    return json.dumps(
        {
            "environ": dict(os.environ),
            "path": sys.path,
            "argv": sys.argv,
            "isolated": (sys.flags.isolated, sys.flags.no_site, sys.flags.dont_write_bytecode),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "dumpable": ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE),
            "descriptors": descriptors,
            "private_socket_inheritable": os.get_inheritable(3),
            "pid": os.getpid(),
            "parent": os.getppid(),
        }
    ).encode()


def _import(name: bytes) -> bytes:
    try:
        module = __import__(name.decode())
    except ImportError:
        return b"no such module"
    return str(getattr(module, "__file__", "built in")).encode()


def _ask_platform(packet: bytes) -> bytes:
    """A packet of the tester's own on the private socket."""
    with socket.socket(fileno=os.dup(3)) as private:
        private.sendall(packet)
        return private.recv(1 << 17)


def main() -> None:
    """Serve until the door closes."""
    runtime = current_runtime()
    Door(
        sys.stdin.buffer,
        sys.stdout.buffer,
        {
            "measurement": lambda _: runtime.measurement.encode(),
            "trust_settings": lambda _: runtime.trust_settings.encode(),
            "evidence": lambda body: runtime.evidence(body).encode(),
            "seal": lambda secret: seal_blob(runtime.sealing_key(b"probe"), _LABEL, secret),
            "open": lambda sealed: open_blob(runtime.sealing_key(b"probe"), _LABEL, sealed),
            "open_under_other_label": lambda sealed: open_blob(runtime.sealing_key(b"other"), _LABEL, sealed),
            "surroundings": _surroundings,
            "import": _import,
            "ask_platform": _ask_platform,
            "echo": lambda body: body,
            "exit": lambda status: os._exit(int(status)),
        },
    ).serve()
