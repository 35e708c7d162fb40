"""`cloister kubernetes prepare`: what the Kustomize tree needs, made on the operator's machine (side: host)."""

from pathlib import Path

import click

from client.commands.options import Surroundings, party_command
from client.events import Noted
from deploy.kubernetes.preparation import OVERLAYS, STATE_DIRECTORY, prepare


@click.group()
def kubernetes() -> None:
    """The stack on Kubernetes (deploy/kubernetes)."""


@kubernetes.command("prepare")
@click.option("--overlay", type=click.Choice(OVERLAYS), default=OVERLAYS[0], show_default=True, help="The hardware.")
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=STATE_DIRECTORY,
    show_default=True,
    help="Where secrets and the kustomization lie.",
)
@party_command("owner")
def prepare_command(here: Surroundings, overlay: str, directory: Path) -> None:
    """Make passwords, keys, certificates and settings, each once, and the kustomization that applies everything."""
    folder = prepare(directory, overlay)
    here.run([Noted(text=f"kubectl apply -k {folder}")])
