"""An enclave's tree run as if Gramine ran it, but by this kernel: nothing of the machine is there but the tree.

What it imports and opens it must find there. /dev/attestation is a folder of the tester's, so the enclave takes itself
for one on SGX hardware.
"""

import subprocess
import tomllib
from pathlib import Path

from deploy.enclaves.building import EnclaveFolder


def start_in_tree(folder: EnclaveFolder, device: Path, *program: str) -> "subprocess.Popen[bytes]":
    """The manifest's own program, or another of the same interpreter; `stdin` and `stdout` are its door."""
    manifest = tomllib.loads(folder.rendered.read_text())
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--clearenv"]
    for part in sorted(folder.root.iterdir()):
        command += ["--ro-bind", str(part), f"/{part.name}"]
    command += ["--dev", "/dev", "--ro-bind", str(device), "/dev/attestation", "--proc", "/proc", "--tmpfs", "/tmp"]
    for name, value in manifest["loader"]["env"].items():
        command += ["--setenv", name, value]
    command += ["--", *(program or manifest["loader"]["argv"])]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
