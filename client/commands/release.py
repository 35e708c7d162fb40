"""`cloister release draft|sign|show|files`, `draft-revocation|revoke`, `draft|publish|keep-inventory` (side: owner)."""

from pathlib import Path
from typing import Any, Final

import click

from client import inventory, releasing
from client.commands.options import Surroundings, party_command
from client.commands.tcb_options import chosen_tcb, tcb_options
from client.commands.types import FILE, FILE_OF_ROLE, PLATFORM
from client.measuring import OwnFiles, digest_cache
from client.release_documents import ReleaseDocument
from client.release_files import show_files
from client.services import AttestationService
from common.enclave.file_lists import files_beside
from common.enclave.roles import ROLES
from common.errors import FormatError
from common.identifiers import PlatformId
from common.messages.measured_files import MeasuredFiles
from common.messages.release import Release
from common.messages.tcb_terms import TcbTerms

_NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)

_trust_option = click.option(
    "--trust-settings",
    type=FILE,
    help="Measured trust settings, which name the release keys; by default those of the stack in the state directory.",
)
_sig_option = click.option(
    "--sig",
    "sigs",
    multiple=True,
    type=FILE_OF_ROLE,
    metavar="ROLE=FILE",
    help="The `.sig` file of a role's SGX enclave, from your own build.",
)
_td_option = click.option(
    "--td",
    "tds",
    multiple=True,
    type=FILE_OF_ROLE,
    metavar="ROLE=FILE",
    help="A role's trust domain: a `tdx` reference value as JSON, or a TDX quote of your own build (not verified).",
)


@click.group()
def release() -> None:
    """Holders of release keys: say which code may get keys, several of them together, and when it no longer may."""


@release.command()
@click.option("--name", "release_name", required=True, help="Name of the release.")
@click.option("--tag", required=True, help="Its version, for people.")
@click.option("-o", "--output", type=_NEW_FILE, default=Path("release.json"), show_default=True)
@_trust_option
@_sig_option
@_td_option
@tcb_options
@party_command("release")
def draft(
    here: Surroundings,
    release_name: str,
    tag: str,
    output: Path,
    trust_settings: Path | None,
    sigs: tuple[tuple[str, Path], ...],
    tds: tuple[tuple[str, Path], ...],
    tcb_file: Path | None,
    **tcb: Any,
) -> None:
    """Measure this checkout and write an unsigned release, with the list of its files beside it."""
    terms = chosen_tcb(tcb_file, tcb) or TcbTerms()
    wishes = releasing.ReleaseWishes(release_name, tag, OwnFiles(dict(sigs), dict(tds)), terms)
    here.run(releasing.draft(here.trust_settings(trust_settings), digest_cache(), wishes, output))


@release.command()
@click.argument("file", type=FILE)
@_trust_option
@_sig_option
@_td_option
@click.option(
    "--unsafe-unmeasured", is_flag=True, help="UNSAFE: sign a release without having built and measured it oneself."
)
@party_command("release")
def sign(
    here: Surroundings,
    file: Path,
    trust_settings: Path | None,
    sigs: tuple[tuple[str, Path], ...],
    tds: tuple[tuple[str, Path], ...],
    *,
    unsafe_unmeasured: bool,
) -> None:
    """Add one's own signature to a release that one's own build measures alike, to a revocation or an inventory."""
    key, trust = here.party.identity.signing_key, here.trust_settings(trust_settings)
    own = OwnFiles(dict(sigs), dict(tds))
    here.run(releasing.sign(key, trust, file, digest_cache(), own, measured=not unsafe_unmeasured))


@release.command()
@click.argument("file", type=FILE)
@_trust_option
@party_command("release")
def show(here: Surroundings, file: Path, trust_settings: Path | None) -> None:
    """Say what a release, a revocation or an inventory states, who signed it, and how many signatures are missing."""
    here.run(releasing.show(file, here.trust_settings(trust_settings)))


@release.command()
@click.argument("file", type=FILE, required=False)
@click.option("--role", type=click.Choice(sorted(ROLES)), required=True)
@click.option("--list", "list_file", type=FILE, help="The list of files (default: FILE's neighbour).")
@click.option("--compare", is_flag=True, help="Show only the files that differ from this checkout's.")
@_trust_option
@party_command("owner")
def files(
    here: Surroundings,
    file: Path | None,
    role: str,
    list_file: Path | None,
    trust_settings: Path | None,
    *,
    compare: bool,
) -> None:
    """List the files of an enclave, proven to be those that the release states. Offline, but for the pinned release.

    Without FILE: those of the pinned release, whose list the attestation service publishes.
    """
    stated, measured = _pinned(here) if file is None else (_release_of(file), _list_of(list_file or files_beside(file)))
    here.run(show_files(stated, measured, role, here.trust_settings(trust_settings) if compare else None))


@release.command("draft-revocation")
@click.argument("file", type=FILE)
@click.option("--successor", type=FILE, help="The release to move to.")
@click.option("-o", "--output", type=_NEW_FILE, default=Path("revocation.json"), show_default=True)
@_trust_option
@party_command("release")
def draft_revocation(
    here: Surroundings, file: Path, successor: Path | None, output: Path, trust_settings: Path | None
) -> None:
    """Write an unsigned revocation of a release, to be signed like one."""
    here.run(releasing.draft_revocation(file, output, here.trust_settings(trust_settings), successor))


@release.command()
@click.argument("file", type=FILE)
@party_command("owner")
def revoke(here: Surroundings, file: Path) -> None:
    """Bring a signed revocation to the pinned key broker: nothing gets keys under that release any more."""
    here.run(releasing.revoke(here.party, file))


@release.command("draft-inventory")
@click.option("--previous", type=FILE, help="The inventory in force, which this one continues.")
@click.option("--known", multiple=True, type=PLATFORM, help="A machine to know: PPID or platform instance id.")
@click.option("--revoke", "revoked", multiple=True, type=PLATFORM, help="A machine to revoke for everybody, for good.")
@click.option("-o", "--output", type=_NEW_FILE, default=Path("inventory.json"), show_default=True)
@_trust_option
@party_command("release")
def draft_inventory(
    here: Surroundings,
    previous: Path | None,
    known: tuple[PlatformId, ...],
    revoked: tuple[PlatformId, ...],
    output: Path,
    trust_settings: Path | None,
) -> None:
    """Write an unsigned list of machines, known and revoked, to be signed like a release."""
    trust = here.trust_settings(trust_settings)
    here.run(inventory.draft_inventory(previous, known, revoked, output, trust))


@release.command("publish-inventory")
@click.argument("file", type=FILE)
@party_command("owner")
def publish_inventory(here: Surroundings, file: Path) -> None:
    """Bring a signed inventory to the pinned key broker: from then on no revoked machine gets keys."""
    here.run(inventory.publish_inventory(here.party, file))


@release.command("keep-inventory")
@click.argument("file", type=FILE)
@party_command("owner")
def keep_inventory(here: Surroundings, file: Path) -> None:
    """Remember a signed inventory from its signers: a broker that shows you an older one, or none, is refused then."""
    here.run(inventory.keep_inventory(here.party, file))


def _release_of(file: Path) -> Release:
    message = ReleaseDocument.read(file).message
    if not isinstance(message, Release):
        raise FormatError("format.message", expected="a release", seen=message.type)
    return message


def _list_of(path: Path) -> MeasuredFiles:
    if not path.exists():
        raise click.BadParameter(f"there is no {path}: name the release's list of files with --list")
    return MeasuredFiles.decode(path.read_bytes())


def _pinned(here: Surroundings) -> tuple[Release, MeasuredFiles]:
    return here.party.trust.open_release(), AttestationService(here.party.endpoints).measured_files()
