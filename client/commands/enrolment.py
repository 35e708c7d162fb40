"""`cloister enrolment withdraw|admit` (side: host: the operator of the ingest service)."""

from collections.abc import Callable
from pathlib import Path

import click

from client import enrolment as operations
from client.commands.options import Surroundings, party_command
from client.commands.types import FILE, PARTY_KEY
from common.identifiers import PartyKey

_settings_option: Callable[[Callable[..., None]], Callable[..., None]] = click.option(
    "--settings", type=FILE, help="The ingest service's settings; by default those of the stack in the state directory."
)


@click.group()
def enrolment() -> None:
    """Run the front door: whose requests it takes. What anybody may do with data, parties and key broker decide."""


def _settings(here: Surroundings, named: Path | None) -> Path:
    return named or here.state / operations.INGEST_SETTINGS


@enrolment.command()
@click.argument("party", metavar="PARTY_KEY", type=PARTY_KEY)
@_settings_option
@party_command("operator")
def withdraw(here: Surroundings, party: PartyKey, settings: Path | None) -> None:
    """Refuse an identity's requests from now on. What it has stored stays; running jobs go on."""
    here.run(operations.withdraw(_settings(here, settings), party))


@enrolment.command()
@click.argument("party", metavar="PARTY_KEY", type=PARTY_KEY)
@click.option("--quota-bytes", type=click.IntRange(min=0), help="Of a new identity (default: that of the settings).")
@_settings_option
@party_command("operator")
def admit(here: Surroundings, party: PartyKey, quota_bytes: int | None, settings: Path | None) -> None:
    """Enrol an identity, or take a withdrawal back. One that its recovery key has ended stays out."""
    here.run(operations.admit(_settings(here, settings), party, quota_bytes))
