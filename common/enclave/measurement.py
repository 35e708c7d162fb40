"""What an enclave's measurement is made of (side: host).

  mr_enclave = SHA-256(transcript(MEASUREMENT, environment digest, transcript(b"argv", *argv),
                                  transcript(b"files", name 1, SHA-256 1, name 2, SHA-256 2, ...)))

Files: everything in the enclave's snapshot, sorted by name: our sources that its entry can import (`import_closure`),
`boot.py`, data of a role with a sandbox, and the trust settings. `argv` is the interpreter's command line without the
places that hold measured content (snapshot, site-packages, bytecode). Anybody with this checkout, this environment and
these trust settings computes the same value (`cloister measure`).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from common.crypto.digests import sha256, transcript
from common.crypto.labels import MEASUREMENT
from common.enclave.import_closure import import_closure
from common.enclave.roles import SANDBOX_DATA, RoleSpec
from common.enclave.trust_settings import TRUST_SETTINGS_FILE, TrustSettings
from common.errors import UnavailableError
from common.identifiers import Digest, MrEnclave

BOOT_FILE: Final = "common/enclave/boot.py"
GRAMINE_BOOT_FILE: Final = "common/enclave/gramine_boot.py"
"""Not run on the simulated platform, and measured there like all of ours, so that both have one list of files."""


OWN_PACKAGES: Final = ("common", "services")
"""Whose files make up a snapshot. All else that an enclave imports is measured with its environment."""

INTERPRETER_FLAGS: Final = ("-I", "-S", "-B", "-X", "utf8")
"""Isolated from environment and user, no `site` and no .pth files, writes no bytecode, UTF-8 whatever the locale."""

MAX_FILE_BYTES: Final = 8 << 20


def measured_argv(spec: RoleSpec) -> tuple[str, ...]:
    """The part of the command line that decides what runs."""
    return (*INTERPRETER_FLAGS, BOOT_FILE, spec.entry)


def measured_content(spec: RoleSpec, code_root: Path, trust: TrustSettings) -> dict[str, bytes]:
    """Name -> content of every file of the enclave's snapshot. Raises `UnavailableError` (unavailable.launcher)."""
    ours = {*OWN_PACKAGES, spec.entry.split(".")[0]}
    names = {BOOT_FILE, GRAMINE_BOOT_FILE} | import_closure(spec.entry, code_root, ours)
    names |= import_closure("common.enclave.boot", code_root, ours)
    if spec.needs_sandbox:
        names |= {name for data in SANDBOX_DATA for name in _below(code_root, data)}
    return {TRUST_SETTINGS_FILE: trust.encode()} | {name: _read(code_root / name) for name in names}


def listing(content: Mapping[str, bytes]) -> dict[str, Digest]:
    """Name -> SHA-256."""
    return {name: sha256(data) for name, data in content.items()}


def encode_listing(files: Mapping[str, Digest]) -> bytes:
    """The canonical listing of files, sorted by name."""
    return transcript(b"files", *(part for name in sorted(files) for part in (name.encode(), files[name].raw())))


def mr_enclave_of(files: Mapping[str, Digest], spec: RoleSpec, environment: Digest) -> MrEnclave:
    """The measurement of an enclave with these files, of this role, in this environment."""
    argv = transcript(b"argv", *(part.encode() for part in measured_argv(spec)))
    return MrEnclave(sha256(transcript(MEASUREMENT, environment.raw(), argv, encode_listing(files))))


def measure(spec: RoleSpec, code_root: Path, trust: TrustSettings, environment: Digest) -> MrEnclave:
    """What an enclave of this role measures as if it were launched from `code_root` now."""
    return mr_enclave_of(listing(measured_content(spec, code_root, trust)), spec, environment)


def _below(root: Path, directory: str) -> Iterator[str]:
    for path in sorted((root / directory).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix()


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise UnavailableError("unavailable.launcher", expected=f"readable {path}", seen=cause) from cause
    if len(data) > MAX_FILE_BYTES:
        raise UnavailableError("unavailable.launcher", expected=f"files of at most {MAX_FILE_BYTES} bytes", seen=path)
    return data
