"""The list of measured files of every enclave: made from code, and the measurement it leads to (sides: host, owner)."""

from collections.abc import Iterable
from pathlib import Path

from common.enclave.measurement import listing, measured_content, mr_enclave_of
from common.enclave.roles import RoleSpec
from common.enclave.trust_settings import TrustSettings
from common.errors import NotFoundError
from common.identifiers import Digest, MrEnclave, RoleName
from common.messages.measured_files import MeasuredFiles, MeasuredRole


def files_beside(release_file: Path) -> Path:
    """Where the list of a release lies: `release.json` has `release.files.json`."""
    return release_file.with_suffix(".files.json")


def list_files(specs: Iterable[RoleSpec], code_root: Path, trust: TrustSettings, environment: Digest) -> MeasuredFiles:
    """What enclaves of these roles consist of if they were launched from `code_root` now."""
    return MeasuredFiles(
        environment=environment,
        roles={
            spec.role: MeasuredRole(entry=spec.entry, files=listing(measured_content(spec, code_root, trust)))
            for spec in specs
        },
    )


def measured_role(files: MeasuredFiles, role: str) -> MeasuredRole:
    """One role's part. Raises `NotFoundError` (not_found.role)."""
    try:
        return files.roles[RoleName(role)]
    except KeyError:
        raise NotFoundError("not_found.role", expected=sorted(files.roles), seen=role) from None


def measurement_of(files: MeasuredFiles, role: str) -> MrEnclave:
    """The measurement that a list leads to. Raises `NotFoundError` (not_found.role)."""
    one = measured_role(files, role)
    return mr_enclave_of(one.files, RoleSpec(role=RoleName(role), entry=one.entry), files.environment)
