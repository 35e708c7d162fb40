"""`cloister owner promote|roll-back|services`: which models answer under a name (side: owner)."""

import click

from client import serving
from client.commands.options import Surroundings, party_command
from client.commands.types import MODEL, SERVING_NAME
from common.identifiers import ModelId

CANARY_OPTION = click.option(
    "--canary",
    type=click.FloatRange(0.001, 0.999),
    help="Only let this share of sessions try it, 0.001 to 0.999; the current one stays.",
)


@click.command()
@click.argument("name", type=SERVING_NAME)
@click.argument("model_id", metavar="MODEL", type=MODEL)
@CANARY_OPTION
@click.option("--warm/--cold", default=True, show_default=True, help="Wait until a worker has placed it.")
@party_command("owner")
def promote(here: Surroundings, name: str, model_id: ModelId, canary: float | None, *, warm: bool) -> None:
    """Let a name stand for a model: users with a grant for the name ask it from now on."""
    here.run(serving.promote(here.party, name, model_id, round(1000 * (canary or 0)), warm=warm))


@click.command("roll-back")
@click.argument("name", type=SERVING_NAME)
@party_command("owner")
def roll_back(here: Surroundings, name: str) -> None:
    """End a name's canary; without one, go back to the model before."""
    here.run(serving.roll_back(here.party, name))


@click.command()
@party_command("owner")
def services(here: Surroundings) -> None:
    """List what the names of this owner stand for."""
    here.run(serving.services(here.party))


SERVING_COMMANDS = (promote, roll_back, services)
