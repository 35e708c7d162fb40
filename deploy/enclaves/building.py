"""An enclave for each role: its tree, its manifest, its signature (side: host).

    OUTPUT/ROLE/root/                 what the enclave sees as `/`
    OUTPUT/ROLE/ROLE.manifest.rendered    template and list of files
    OUTPUT/ROLE/ROLE.manifest         completed by Gramine: what `gramine-direct` takes
    OUTPUT/ROLE/ROLE.manifest.sgx, ROLE.sig    signed: what `gramine-sgx` takes

A folder of a role is all that a host needs beside Gramine. The same sources, trust settings, packages and Gramine give
the same bytes anywhere, so the same MRENCLAVE: no path, time, name or order of the builder's goes in.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from common.enclave.environment import Environment
from common.enclave.measurement import measured_content
from common.enclave.roles import RoleSpec
from common.enclave.sigstruct import Sigstruct, parse_sigstruct
from common.enclave.trust_settings import TrustSettings
from common.errors import NotFoundError
from common.identifiers import RoleName
from deploy.enclaves import tools
from deploy.enclaves.closure import CODE, foreign_files
from deploy.enclaves.manifest import parse_manifest
from deploy.enclaves.rendering import render, template_of
from deploy.enclaves.staging import StagedFile, stage


@dataclass(frozen=True, slots=True)
class EnclaveFolder:
    """Where one role's enclave lies."""

    output: Path
    role: RoleName

    @property
    def place(self) -> Path:
        """The folder."""
        return self.output / self.role

    @property
    def root(self) -> Path:
        """The tree."""
        return self.place / "root"

    @property
    def rendered(self) -> Path:
        """The manifest as the template says it."""
        return self.place / f"{self.role}.manifest.rendered"

    @property
    def manifest(self) -> Path:
        """The manifest as Gramine completed it."""
        return self.place / f"{self.role}.manifest"

    @property
    def signed(self) -> Path:
        """The signed manifest."""
        return self.place / f"{self.role}.manifest.sgx"

    @property
    def sig(self) -> Path:
        """SIGSTRUCT."""
        return self.place / f"{self.role}.sig"


def build_tree(
    folder: EnclaveFolder, spec: RoleSpec, trust: TrustSettings, code_root: Path, runtime: Path
) -> list[StagedFile]:
    """Tree and rendered manifest, without Gramine but for its C library in `runtime`; the files.

    Raises `UnavailableError` (unavailable.launcher) and `FormatError` (format.manifest).
    """
    own = {f"{CODE}/{name}": data for name, data in measured_content(spec, code_root, trust).items()}
    files = stage(folder.root, foreign_files(spec, code_root, Environment.current(), runtime), own)
    folder.rendered.write_bytes(render(template_of(spec, code_root), files))
    return files


def build(
    output: Path, specs: Iterable[RoleSpec], trust: TrustSettings, code_root: Path
) -> Iterator[tuple[RoleName, list[StagedFile]]]:
    """Each role's tree, manifest and files. Raises `UnavailableError` (unavailable.gramine) where Gramine is absent."""
    runtime = tools.runtime_directory()
    for spec in specs:
        folder = EnclaveFolder(output, spec.role)
        files = build_tree(folder, spec, trust, code_root, runtime)
        tools.complete_manifest(folder.rendered, folder.manifest)
        parse_manifest(folder.manifest.read_bytes())
        yield spec.role, files


def sign(output: Path, specs: Iterable[RoleSpec], key: Path) -> Iterator[tuple[RoleName, Sigstruct]]:
    """Sign each role's enclave with an RSA-3072 key; what that says of it. Raises as `build`, and `NotFoundError`."""
    for spec in specs:
        folder = EnclaveFolder(output, spec.role)
        if not folder.manifest.exists():
            raise NotFoundError("not_found.enclave", expected=folder.manifest)
        parse_manifest(folder.manifest.read_bytes())
        tools.sign_manifest(folder.manifest, key, folder.signed, folder.sig)
        yield spec.role, measure(folder)


def measure(folder: EnclaveFolder) -> Sigstruct:
    """What a signed enclave is. Raises `NotFoundError` (not_found.enclave) and as `parse_sigstruct`."""
    if not folder.sig.exists():
        raise NotFoundError("not_found.enclave", expected=folder.sig)
    return parse_sigstruct(folder.sig.read_bytes())
