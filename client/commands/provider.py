"""`cloister provider pin|pack|publish` (side: owner: the provider's machine)."""

from pathlib import Path
from typing import Any

import click

from client import provider as operations
from client.commands.options import Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.policy import terms_of
from client.commands.types import DIRECTORY, FILE, PARTY_KEY
from client.policy_terms import ProviderTerms


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
@click.option("--terms", "source", type=FILE, help="Terms as YAML (docs/policy.md); options override.")
@click.option(
    "--owner", "owners", multiple=True, type=PARTY_KEY, help="Owner who may train with it (default: anybody)."
)
@click.option("--user", "users", multiple=True, type=PARTY_KEY, help="User who may ask its models (default: anybody).")
@click.option("--answers", "answers_total", type=int, help="Answers that a model of it may give (default: 1,000,000).")
@click.option("--detail", type=click.Choice(["label", "scores"]), help="The most that an answer tells.")
@click.option("--days", type=int, help="Life of these terms (default: 365).")
@party_command("provider")
def publish(here: Surroundings, packed: Path, source: Path | None, **options: Any) -> None:
    """Upload a packed bundle and register it with the key broker."""
    here.run(operations.publish(here.party, packed, terms_of(source, options, ProviderTerms)))
