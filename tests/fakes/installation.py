"""An installation of simulated enclaves for tests: platform, release, snapshots, launches (side: library)."""

import contextlib
import json
import os
import select
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from client.measuring import digest_cache
from common.door import Door
from common.enclave.development import CODE_ROOT, development_trust_settings, launcher_settings
from common.enclave.development import make_development_release as make_release
from common.enclave.launcher import launch_enclave
from common.enclave.measurement import measured_content
from common.enclave.roles import RoleSpec
from common.enclave.trust_settings import TRUST_SETTINGS_FILE, TrustSettings, require_release
from common.identifiers import RoleName
from common.messages.release import Release

PROBE: Final = RoleSpec(role=RoleName("probe"), entry="tests.fakes.probe_enclave")
_SHARED_CACHE: Final = digest_cache()
"""Digests of third-party files outlive a test session: hashing them takes seconds."""

ENDS_WITHIN_SECONDS: Final = 10.0


def bring_digests(state: Path) -> None:
    """Give a state directory the digests that are known, so that its first start need not hash everything."""
    (state / "snapshots").mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(_SHARED_CACHE, state / "snapshots" / "environment.cache")


@dataclass(frozen=True)
class Installation:
    """A state directory with a development release of the roles of tests."""

    state: Path
    trust: TrustSettings
    release: Release

    @classmethod
    def make(cls, state: Path, *specs: RoleSpec) -> "Installation":
        """Platform, trust settings and release for these roles."""
        bring_digests(state)
        signed = make_release(state, specs=specs)
        _SHARED_CACHE.parent.mkdir(parents=True, exist_ok=True)
        fresh = _SHARED_CACHE.with_suffix(f".{os.getpid()}")
        shutil.copyfile(state / "snapshots" / "environment.cache", fresh)
        fresh.replace(_SHARED_CACHE)
        trust = development_trust_settings(state)
        return cls(state, trust, require_release(signed, trust))

    def settings(self, *specs: RoleSpec, code_root: Path = CODE_ROOT) -> Path:
        """A launcher settings file."""
        path = self.state / f"launcher-{len(list(self.state.glob('launcher-*')))}.json"
        path.write_bytes(launcher_settings(self.state, code_root=code_root, roles=specs).encode())
        return path

    def copy_of_code(self, spec: RoleSpec, place: Path) -> Path:
        """The role's measured files as a code root of its own, to be changed by a test."""
        for name, content in measured_content(spec, CODE_ROOT, self.trust).items():
            if name != TRUST_SETTINGS_FILE:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
        return place


@contextlib.contextmanager
def launched(role: str, settings: Path) -> Iterator["Running"]:
    """An enclave behind its door, ended and reaped whatever happens."""
    process = launch_enclave(role, settings)
    assert process.stdin is not None
    assert process.stdout is not None
    door = Door(process.stdout, process.stdin, {})  # type: ignore[arg-type]
    reader = threading.Thread(target=door.serve)
    reader.start()
    try:
        yield Running(process, door)
    finally:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=ENDS_WITHIN_SECONDS)
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()


@dataclass(frozen=True)
class Running:
    """A launcher with its enclave."""

    process: "subprocess.Popen[bytes]"
    door: Door

    def surroundings(self) -> dict[str, Any]:
        """What the enclave finds around itself."""
        seen: dict[str, Any] = json.loads(self.door.call("surroundings", b""))
        return seen


def require_ends(pid: int) -> None:
    """Fail unless this process, no child of ours, ends soon."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], ENDS_WITHIN_SECONDS)
        assert ended, f"process {pid} is still there"
    finally:
        os.close(descriptor)
