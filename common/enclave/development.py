"""A release of this checkout for this machine, signed by a key that lies beside it (side: host).

For `cloister up` and tests: it stands in for nobody's review. Its key is the operator's own, its root simulated, so
production trust settings can never come out of here, and clients that trust it were told `--unsafe-simulation`.

  STATE/platform/                     the simulated CPU
  STATE/release/key.json              development release key (identity file, 0600)
  STATE/release/trust_settings.json   names that key and the simulated root
  STATE/release/release.json          the signed release
  STATE/release/release.files.json   the files of each of its enclaves, for whoever wants to compare
  STATE/snapshots/                    enclave code, bytecode, memory of environment digests
"""

import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from common.crypto.key_file import Identity
from common.enclave.environment import Environment
from common.enclave.file_lists import files_beside, list_files, measurement_of
from common.enclave.launcher import LauncherSettings
from common.enclave.roles import ROLES, RoleSpec
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.identifiers import RoleName
from common.messages.evidence import TrustLevel
from common.messages.measured_files import MeasuredFiles
from common.messages.reference_values import ReferenceValue, SgxReferenceValue
from common.messages.release import Release
from common.messages.signed import Signed, sign

_EARLIER: Final = "earlier"
CODE_ROOT: Final = Path(__file__).parents[2]
"""This checkout."""


def development_trust_settings(state: Path) -> TrustSettings:
    """Trust settings of this installation: its development release key, its simulated root."""
    platform = SimulatedPlatform.open_or_create(state / "platform")
    return TrustSettings(
        release_keys=(_release_identity(state).signing_key.party,),
        release_threshold=1,
        allowed_roots=(platform.allowed_root,),
        production=False,
    )


def launcher_settings(
    state: Path, *, code_root: Path = CODE_ROOT, roles: tuple[RoleSpec, ...] = ()
) -> LauncherSettings:
    """Settings for launchers of this installation."""
    return LauncherSettings(
        platform_directory=str(state / "platform"),
        snapshot_directory=str(state / "snapshots"),
        trust_settings_file=str(state / "release" / "trust_settings.json"),
        code_root=str(code_root),
        roles=roles,
    )


def measure_roles(
    state: Path, specs: Collection[RoleSpec], *, code_root: Path = CODE_ROOT
) -> dict[RoleName, dict[TrustLevel, ReferenceValue]]:
    """Reference values of these roles on this installation's simulated platform."""
    return _references(_list_roles(state, specs, code_root))


def make_development_release(
    state: Path, *, code_root: Path = CODE_ROOT, specs: Collection[RoleSpec] = tuple(ROLES.values())
) -> Signed:
    """Measure, sign and store a release. One that still fits is kept as it is, so its digest lasts."""
    trust, place = development_trust_settings(state), state / "release"
    _write(place / "trust_settings.json", trust.encode())
    files = _list_roles(state, specs, code_root)
    _write(files_beside(place / "release.json"), files.encode())
    measurements = _references(files)
    stored = read_development_release(state)
    if stored is not None and Release.decode(stored.payload).measurements == measurements:
        return stored
    if stored is not None:
        _write(place / _EARLIER / f"{stored.digest}.json", stored.encode())
    release = Release(name="development", tag="0", created=int(time.time()), measurements=measurements)
    signed = sign(release, _release_identity(state).signing_key)
    _write(place / "release.json", signed.encode())
    return signed


def read_development_release(state: Path) -> Signed | None:
    """The stored release, unverified; none if there is none."""
    path = state / "release" / "release.json"
    return Signed.decode(path.read_bytes()) if path.exists() else None


def earlier_releases(state: Path) -> list[Path]:
    """Releases of before, unverified, the newest first."""
    return sorted((state / "release" / _EARLIER).glob("*.json"), key=lambda path: -path.stat().st_mtime_ns)


def _list_roles(state: Path, specs: Collection[RoleSpec], code_root: Path) -> MeasuredFiles:
    environment = Environment.current().digest(state / "snapshots" / "environment.cache")
    return list_files(specs, code_root, development_trust_settings(state), environment)


def _references(files: MeasuredFiles) -> dict[RoleName, dict[TrustLevel, ReferenceValue]]:
    return {
        role: {TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=measurement_of(files, role))} for role in files.roles
    }


def _release_identity(state: Path) -> Identity:
    path = state / "release" / "key.json"
    if not path.exists():
        Identity.generate("development-release", unsafe_simulation=True).write(path)
    return Identity.read(path)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)
