"""`cloister provider pin|pack|publish` (side: owner: the provider's machine)."""

from pathlib import Path

import click

from client import provider as operations
from client.commands.options import Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.types import DIRECTORY, PARTY_KEY
from common.identifiers import PartyKey


@click.group()
def provider() -> None:
    """Model makers: pack, seal and publish code that nobody else reads."""


provider.add_command(pin_command("provider"))


@provider.command()
@click.argument("source", metavar="DIRECTORY", type=DIRECTORY)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New directory for the ciphertext.")
@party_command("provider")
def pack(here: Surroundings, source: Path, output: Path | None) -> None:
    """Check a directory with provider.toml and code, and seal it."""
    here.run(operations.pack(here.party, source, output or Path(f"{source.name}.sealed")))


@provider.command()
@click.argument("packed", metavar="SEALED", type=DIRECTORY)
@click.option(
    "--owner", "owners", multiple=True, type=PARTY_KEY, help="Owner who may train with it (default: anybody)."
)
@click.option("--user", "users", multiple=True, type=PARTY_KEY, help="User who may ask its models (default: anybody).")
@click.option("--answers", default=1_000_000, show_default=True, help="Answers that a model of it may give.")
@click.option("--days", default=365, show_default=True, help="Life of these terms.")
@party_command("provider")
def publish(
    here: Surroundings, packed: Path, owners: tuple[PartyKey, ...], users: tuple[PartyKey, ...], answers: int, days: int
) -> None:
    """Upload a packed bundle and register it with the key broker."""
    terms = operations.ProviderTerms(owners=owners, users=users, answers_total=answers, days=days)
    here.run(operations.publish(here.party, packed, terms))
