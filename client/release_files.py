"""The files of a release's enclaves: checked against its measurements, and held against this checkout (side: owner).

A list that leads to the measurement is the list of what was measured: nobody finds another one (SHA-256). With it a
release that differs from one's own build says in which file, instead of only that it does.
"""

from collections.abc import Iterator

from client.events import Event, FileListed, FilesVerified
from client.measuring import CODE_ROOT, digest_cache
from common.enclave.environment import Environment
from common.enclave.file_lists import measured_role, measurement_of
from common.enclave.measurement import listing, measured_content
from common.enclave.roles import role_spec
from common.enclave.trust_settings import TrustSettings
from common.errors import AppraisalError
from common.identifiers import Digest
from common.messages.evidence import TrustLevel
from common.messages.measured_files import MeasuredFiles
from common.messages.release import Release


def show_files(
    release: Release, files: MeasuredFiles, role: str, compare_with: TrustSettings | None = None
) -> Iterator[Event]:
    """List a role's files once they are proven. Ends with `FilesVerified`.

    With `compare_with`, only those that differ from what this checkout gives under these trust settings, and the digest
    of interpreter and packages here, which another build differs in without a file of ours. Raises
    `AppraisalError` (appraisal.measurement) for a list that is not the release's, `NotFoundError` (not_found.role).
    """
    measured = measured_role(files, role)
    stated = release.reference(role, TrustLevel.SIMULATION).code
    led_to = measurement_of(files, role)
    if led_to != stated:
        raise AppraisalError("appraisal.measurement", expected=stated, seen=led_to)
    differing = own_environment = None
    if compare_with is None:
        yield from (FileListed(name=name, sha256=digest) for name, digest in sorted(measured.files.items()))
    else:
        others = _differing(measured.files, listing(measured_content(role_spec(role), CODE_ROOT, compare_with)))
        differing, own_environment = len(others), Environment.current().digest(digest_cache())
        yield from others
    yield FilesVerified(
        role=role,
        mr_enclave=led_to,
        environment=files.environment,
        files=len(measured.files),
        differing=differing,
        own_environment=own_environment,
    )


def _differing(released: dict[str, Digest], own: dict[str, Digest]) -> list[FileListed]:
    return [
        FileListed(name=name, sha256=released.get(name), own=own.get(name), compared=True)
        for name in sorted(released.keys() | own.keys())
        if released.get(name) != own.get(name)
    ]
