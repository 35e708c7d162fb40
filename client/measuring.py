"""What the enclaves of this checkout measure, computed without running them (side: owner).

Whoever has the same code, the same third-party files and the same trust settings gets the same numbers: that is how an
owner checks a release with its own build instead of believing whoever signed it.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from client.events import RoleMeasured, SigstructRead
from common.enclave.environment import Environment
from common.enclave.measurement import measure
from common.enclave.roles import ROLES
from common.enclave.sigstruct import parse_sigstruct
from common.enclave.trust_settings import TrustSettings
from common.identifiers import MrEnclave
from common.messages.reference_values import SgxReferenceValue
from common.messages.release import Release

CODE_ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the installed tree, that this command runs from."""


def digest_cache() -> Path:
    """Where this user's digests of third-party files are remembered, by size and times."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "cloister" / "environment.digests"


def measure_roles(trust_settings: TrustSettings, cache: Path, release: Release | None = None) -> Iterator[RoleMeasured]:
    """Each role's measurement, beside the one that `release` states for it, if any.

    `cache` remembers digests of third-party files by size and times; it belongs to whoever measures.
    """
    environment = Environment.current().digest(cache)
    for spec in ROLES.values():
        own = measure(spec, CODE_ROOT, trust_settings, environment)
        yield RoleMeasured(role=spec.role, mr_enclave=own, released=_released(release, spec.role))


def read_sigstruct(file: Path) -> SigstructRead:
    """What a Gramine `.sig` file says. Raises `FormatError` (format.sigstruct) or `AuthenticityError`."""
    read = parse_sigstruct(file.read_bytes())
    return SigstructRead(
        file=file.name,
        mr_enclave=read.mr_enclave,
        mr_signer=read.mr_signer,
        isv_prod_id=read.isv_prod_id,
        isv_svn=read.isv_svn,
        debug=read.is_debug,
    )


def _released(release: Release | None, role: str) -> MrEnclave | None:
    if release is None:
        return None
    values = next((platforms for name, platforms in release.measurements.items() if name == role), {})
    return next((value.mr_enclave for value in values.values() if isinstance(value, SgxReferenceValue)), None)
