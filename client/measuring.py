"""What the enclaves of this checkout measure, computed without running them (side: owner).

Whoever has the same code, the same third-party files and the same trust settings gets the same numbers: that is how an
owner checks a release with its own build instead of believing whoever signed it.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from client.events import RoleMeasured, SigstructRead
from client.td_values import NO_TERMS, read_td_value
from common.enclave.environment import Environment
from common.enclave.file_lists import list_files, measurement_of
from common.enclave.measurement import measure
from common.enclave.roles import ROLES
from common.enclave.sigstruct import parse_sigstruct
from common.enclave.trust_settings import TrustSettings
from common.errors import NotFoundError
from common.identifiers import CodeMeasurement, Digest, RoleName
from common.messages.evidence import TrustLevel
from common.messages.measured_files import MeasuredFiles
from common.messages.reference_values import ReferenceValue, SgxReferenceValue, TdxReferenceValue
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


def measure_roles(
    trust_settings: TrustSettings, cache: Path, release: Release | None = None, *, environment: Digest | None = None
) -> Iterator[RoleMeasured]:
    """Each role's measurement, beside the one that `release` states for it, if any.

    `cache` remembers digests of third-party files by size and times; it belongs to whoever measures. With `environment`
    they are not looked at: it stands for those among which the enclaves run.
    """
    environment = environment or Environment.current().digest(cache)
    for spec in ROLES.values():
        own = measure(spec, CODE_ROOT, trust_settings, environment)
        yield RoleMeasured(role=spec.role, mr_enclave=own, released=_released(release, spec.role))


def list_own_files(trust_settings: TrustSettings, cache: Path) -> MeasuredFiles:
    """Every file of every enclave of this checkout."""
    return list_files(ROLES.values(), CODE_ROOT, trust_settings, Environment.current().digest(cache))


@dataclass(frozen=True)
class OwnFiles:
    """What one's own build says of enclaves on hardware, by role: `.sig` files of SGX; values or quotes of domains."""

    sigs: Mapping[str, Path] = field(default_factory=dict)
    tds: Mapping[str, Path] = field(default_factory=dict)


NO_FILES: Final = OwnFiles()
"""Nothing runs on hardware."""


def own_references(files: MeasuredFiles, own: OwnFiles = NO_FILES, tcb: TcbTerms | None = None) -> References:
    """What enclaves of one's own build must be: on the simulated platform by their files, on hardware by `own`.

    `tcb` is for hardware alone: a simulated platform has no TCB that would mean anything. Raises `NotFoundError`
    (not_found.role), and what `parse_sigstruct`, `Sigstruct.reference_value` and `read_td_value` raise.
    """
    references: References = {
        role: {TrustLevel.SIMULATION: SgxReferenceValue(mr_enclave=measurement_of(files, role))} for role in files.roles
    }
    for role in (*own.sigs, *own.tds):
        if role not in ROLES:
            raise NotFoundError("not_found.role", expected=sorted(ROLES), seen=role)
    for role, file in own.sigs.items():
        reference = parse_sigstruct(file.read_bytes()).reference_value(tcb or TcbTerms())
        references[RoleName(role)][TrustLevel.SGX] = reference
    for role, file in own.tds.items():
        references[RoleName(role)][TrustLevel.TDX] = read_td_value(file, tcb or NO_TERMS)
    return references


def states(stated: ReferenceValue | None, own: ReferenceValue | None) -> bool:
    """Whether a release states what one's own build gives; its terms over TCB and TDX module are no measurements.

    Nor is an RTMR that the release leaves open.
    """
    if stated is None or own is None:
        return False
    chosen: dict[str, object] = {"tcb": stated.tcb}
    if isinstance(stated, TdxReferenceValue) and isinstance(own, TdxReferenceValue):
        pairs = zip(stated.rtmrs, own.rtmrs, strict=True)
        chosen |= {
            "rtmrs": tuple(None if said is None else measured for said, measured in pairs),
            "mr_seams": stated.mr_seams,
            "min_module_version": stated.min_module_version,
        }
    return own.model_copy(update=chosen) == stated


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


def _released(release: Release | None, role: str) -> CodeMeasurement | None:
    if release is None:
        return None
    values = next((platforms for name, platforms in release.measurements.items() if name == role), {})
    return next((value.mr_enclave for value in values.values() if isinstance(value, SgxReferenceValue)), None)
