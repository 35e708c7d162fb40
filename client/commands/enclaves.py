"""`cloister enclaves build|sign|measure`: enclaves for Gramine, without SGX hardware (side: host)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import click

from client.commands.options import Surroundings, party_command
from client.commands.types import FILE
from client.events import EnclaveBuilt, Event, SigstructRead
from client.measuring import CODE_ROOT, read_sigstruct
from common.enclave.roles import ROLES, RoleSpec
from common.enclave.trust_settings import TrustSettings
from deploy.enclaves import building, tools

OUTPUT: Final = Path("enclaves")

_folder_option = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=OUTPUT,
    show_default=True,
    help="Where the enclaves lie, a folder for each role.",
)
_role_option = click.option(
    "--role",
    "names",
    multiple=True,
    type=click.Choice(sorted(ROLES)),
    help="Only this role. May be given several times.",
)


@click.group()
def enclaves() -> None:
    """Enclaves for Gramine: their files and manifests, signed and measured (docs/deploy-sgx.md)."""


@enclaves.command()
@_folder_option
@_role_option
@click.option("--trust-settings", type=FILE, help="What enclaves trust, measured with them (default: the stack's).")
@party_command("release")
def build(here: Surroundings, directory: Path, names: tuple[str, ...], trust_settings: Path | None) -> None:
    """Copy what each enclave may open to a tree of its own, and write its manifest. Needs Gramine, no SGX."""
    here.run(_build(directory, _specs(names), here.trust_settings(trust_settings)))


@enclaves.command()
@_folder_option
@_role_option
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), required=True, help="RSA-3072 key, PEM.")
@click.option("--new-key", is_flag=True, help="Make it first.")
@party_command("release")
def sign(here: Surroundings, directory: Path, names: tuple[str, ...], key: Path, *, new_key: bool) -> None:
    """Sign what was built; MRENCLAVE and MRSIGNER. `release draft --sig` puts them into a release."""
    here.run(_sign(directory, _specs(names), key, new_key=new_key))


@enclaves.command("measure")
@_folder_option
@_role_option
@party_command("owner")
def measure_command(here: Surroundings, directory: Path, names: tuple[str, ...]) -> None:
    """Say what signed enclaves are."""
    here.run(_read(directory, spec) for spec in _specs(names))


def _specs(names: Sequence[str]) -> list[RoleSpec]:
    return [ROLES[name] for name in names or ROLES]


def _build(directory: Path, specs: Sequence[RoleSpec], trust: TrustSettings) -> Iterator[Event]:
    for role, files in building.build(directory, specs, trust, CODE_ROOT):
        folder = building.EnclaveFolder(directory, role).place
        yield EnclaveBuilt(
            role=role, folder=str(folder), files=len(files), bytes=sum(file.size_bytes for file in files)
        )


def _sign(directory: Path, specs: Sequence[RoleSpec], key: Path, *, new_key: bool) -> Iterator[Event]:
    if new_key:
        tools.make_key(key)
    for role, _ in building.sign(directory, specs, key):
        yield read_sigstruct(building.EnclaveFolder(directory, role).sig)


def _read(directory: Path, spec: RoleSpec) -> SigstructRead:
    folder = building.EnclaveFolder(directory, spec.role)
    building.measure(folder)
    return read_sigstruct(folder.sig)
