"""`cloister verify quote|object|model` (side: verifier)."""

from pathlib import Path

import click

from client import verification
from client.commands.options import PATH, Surroundings, party_command
from client.commands.types import DIRECTORY, FILE, MODEL
from common.enclave.roles import ROLES
from common.identifiers import ModelId


@click.group()
def verify() -> None:
    """Check a quote, a sealed object or a model by hand."""


@verify.command()
@click.argument("source", metavar="[EVIDENCE.json]", required=False, type=FILE)
@click.option("--role", type=click.Choice(sorted(ROLES)), default="broker", show_default=True)
@click.option("--at", type=click.IntRange(min=0), help="Of a stored quote: when, in Unix seconds (default: now).")
@click.option("-o", "--output", type=PATH, help="Of the broker's quote: keep it there, with its collateral.")
@party_command("owner")
def quote(here: Surroundings, source: Path | None, role: str, at: int | None, output: Path | None) -> None:
    """Verify a stored quote; without a file, the key broker's, fresh over our own nonce."""
    if source is None:
        if at is not None:
            raise click.UsageError("--at is for a stored quote: name its file")
        here.run(verification.verify_broker(here.party, output))
    elif output is not None:
        raise click.UsageError("-o keeps the broker's quote: name no file of another one")
    else:
        here.run(verification.verify_evidence(here.party, source, role, at))


@verify.command("object")
@click.argument("sealed", type=DIRECTORY)
@party_command("owner")
def sealed_object(here: Surroundings, sealed: Path) -> None:
    """Verify every byte of a sealed directory."""
    here.run(verification.verify_object(here.party, sealed))


@verify.command()
@click.argument("model_id", metavar="MODEL", type=MODEL)
@party_command("owner")
def model(here: Surroundings, model_id: ModelId) -> None:
    """Verify a model's manifest: what made it, and that it is of the stated order."""
    here.run(verification.verify_model(here.party, model_id))
