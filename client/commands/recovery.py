"""`cloister recovery card|add-holder|show|share|submit` (side: owner)."""

from pathlib import Path

import click

from client import recovery as operations
from client.commands.options import Surroundings, party_command
from client.commands.types import DATASET, FILE
from common.identifiers import DatasetId
from common.messages.signed import Signed

_OUTPUT = click.Path(path_type=Path)
_PACKAGE = click.option("--package", type=FILE, help="The package as a file (default: the attestation service has it).")


@click.group()
def recovery() -> None:
    """When a key broker's machine is gone: holders that an owner's policy names bring data keys to another one."""


@recovery.command()
@click.option("-o", "--output", type=_OUTPUT, default=Path("holder.json"), show_default=True)
@party_command("holder")
def card(here: Surroundings, output: Path) -> None:
    """Holder: write a card, and hand it to the owner whose share you will hold."""
    here.run(operations.write_card(here.party, output))


@recovery.command("add-holder")
@click.argument("source", metavar="CARD", type=FILE)
@party_command("owner")
def add_holder(here: Surroundings, source: Path) -> None:
    """Owner: keep a holder's card, so that a policy can name its key."""
    here.run(operations.keep_card(here.party, source))


@recovery.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@_PACKAGE
@party_command("holder")
def show(here: Surroundings, dataset_id: DatasetId, package: Path | None) -> None:
    """Anybody: who holds shares of a data set, how many are needed, which broker's it was and up to when."""
    here.run(operations.show(_document(here, dataset_id, package)))


@recovery.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@_PACKAGE
@click.option("-o", "--output", type=_OUTPUT, default=Path("share.json"), show_default=True)
@party_command("holder")
def share(here: Surroundings, dataset_id: DatasetId, package: Path | None, output: Path) -> None:
    """Holder: verify the new broker's quote, and wrap your share to it. It opens in that enclave, until it restarts."""
    here.run(operations.give_share(here.party, _document(here, dataset_id, package), output))


@recovery.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@click.option("--share", "shares", multiple=True, required=True, type=FILE, help="What a holder gave.")
@click.option("--retired", "retirements", multiple=True, required=True, type=FILE, help="What a witness gave.")
@party_command("operator")
def submit(here: Surroundings, dataset_id: DatasetId, shares: tuple[Path, ...], retirements: tuple[Path, ...]) -> None:
    """Operator: bring shares, and the words of the old broker's witnesses, to the new broker."""
    here.run(operations.submit(here.endpoints(), dataset_id, shares, retirements))


def _document(here: Surroundings, dataset_id: DatasetId, package: Path | None) -> Signed:
    if package is not None:
        return Signed.decode(package.read_bytes())
    return operations.fetch_package(here.party.endpoints, dataset_id)
