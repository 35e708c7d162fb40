"""Gramine's own tools: what they are asked, and what is made of their answers (side: host).

Source: Gramine 1.9, manual pages `gramine-manifest`, `gramine-sgx-sign`, `gramine-sgx-gen-private-key` and
`gramine-direct`. None of them needs SGX hardware, and each is looked for on PATH when it is needed.
"""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

from common.errors import UnavailableError

MANIFEST_TOOL: Final = "gramine-manifest"
SIGN_TOOL: Final = "gramine-sgx-sign"
KEY_TOOL: Final = "gramine-sgx-gen-private-key"
DIRECT_TOOL: Final = "gramine-direct"

SIGNING_DATE: Final = "0000-00-00"
"""Of every signature: the day must not change the bytes. Nothing rests on it (common/enclave/sigstruct)."""

_SECONDS: Final = 600
_RUNTIME_QUESTION: Final = 'runtime = "{{ gramine.runtimedir() }}"'


def require_tool(name: str) -> Path:
    """Where it is installed. Raises `UnavailableError` (unavailable.gramine)."""
    found = shutil.which(name)
    if found is None:
        raise UnavailableError("unavailable.gramine", expected=f"{name} on PATH")
    return Path(found)


def runtime_directory() -> Path:
    """Where Gramine keeps its C library; it is asked itself, through a template. Raises `UnavailableError`."""
    told = _run(MANIFEST_TOOL, "--no-check", "--string", _RUNTIME_QUESTION)
    return Path(tomllib.loads(told)["runtime"])


def complete_manifest(rendered: Path, manifest: Path) -> None:
    """Gramine's check of a manifest, its defaults, and the hash of its library OS. Raises `UnavailableError`."""
    _run(MANIFEST_TOOL, str(rendered.resolve()), str(manifest.resolve()), folder=rendered.parent)


def sign_manifest(manifest: Path, key: Path, signed: Path, sig: Path) -> None:
    """Measure and sign: `.manifest.sgx` and `.sig`. Raises `UnavailableError`."""
    arguments = ("--manifest", manifest.name, "--output", signed.name, "--sigfile", sig.name)
    _run(SIGN_TOOL, *arguments, "--key", str(key.resolve()), "--date", SIGNING_DATE, "--quiet", folder=manifest.parent)


def make_key(file: Path) -> None:
    """A fresh RSA-3072 key with exponent 3, whose digest is MRSIGNER. Raises `UnavailableError`."""
    _run(KEY_TOOL, str(file))


def _run(tool: str, *arguments: str, folder: Path | None = None) -> str:
    command = [str(require_tool(tool)), *arguments]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=folder
    )
    if done.returncode != 0:
        raise UnavailableError("unavailable.gramine", expected=f"{tool} to succeed", seen=done.stderr[-2000:])
    return done.stdout
