"""What the enclaves of this checkout measure, computed without running them (side: owner).

Whoever has the same code, the same third-party files and the same trust settings gets the same numbers: that is how an
owner checks a release with its own build instead of believing whoever signed it.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from client.events import RoleMeasured, SigstructRead
from common.enclave.environment import Environment
from common.enclave.file_lists import list_files, measurement_of
from common.enclave.measurement import measure
from common.enclave.roles import ROLES
from common.enclave.sigstruct import parse_sigstruct
from common.enclave.trust_settings import TrustSettings
from common.errors import NotFoundError
from common.identifiers import MrEnclave, RoleName
from common.messages.evidence import TrustLevel
from common.messages.measured_files import MeasuredFiles
from common.messages.reference_values import ReferenceValue, SgxReferenceValue
from common.messages.release import Release
from common.messages.tcb_terms import TcbTerms

References = dict[RoleName, dict[TrustLevel, ReferenceValue]]
"""What enclaves must be, by role and platform, as a release states it."""

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


def list_own_files(trust_settings: TrustSettings, cache: Path) -> MeasuredFiles:
    """Every file of every enclave of this checkout."""
    return list_files(ROLES.values(), CODE_ROOT, trust_settings, Environment.current().digest(cache))


def own_references(files: MeasuredFiles, sigs: Mapping[str, Path], tcb: TcbTerms | None = None) -> References:
    """What enclaves of one's own build must be: on the simulated platform by their files, on SGX by their `.sig` files.

    `tcb` is for SGX alone: a simulated platform has no TCB that would mean anything. Raises `NotFoundError`
    (not_found.role), and what `parse_sigstruct` and `Sigstruct.reference_value` raise.
    """
    references: References = {
        role: {TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=measurement_of(files, role))} for role in files.roles
    }
    for role, file in sigs.items():
        if role not in ROLES:
            raise NotFoundError("not_found.role", expected=sorted(ROLES), seen=role)
        reference = parse_sigstruct(file.read_bytes()).reference_value(tcb or TcbTerms())
        references[RoleName(role)][TrustLevel.SGX] = reference
    return references


def measured_sigs(sigs: Mapping[str, Path]) -> Iterator[RoleMeasured]:
    """What `.sig` files say of SGX enclaves, by role, beside what this checkout measures."""
    for role, file in sigs.items():
        yield RoleMeasured(role=role, mr_enclave=parse_sigstruct(file.read_bytes()).mr_enclave, platform=TrustLevel.SGX)


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
