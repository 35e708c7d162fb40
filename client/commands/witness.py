"""`cloister witness run|retire` (side: owner)."""

import signal
import threading
from pathlib import Path

import click

from client import recovery
from client.commands.options import Surroundings, party_command
from client.commands.types import FILE
from client.events import Noted
from client.witness import WitnessSettings, build, watch


@click.group()
def witness() -> None:
    """Witnesses: remember the key broker's newest log head, so that an older state can't come back."""


@witness.command()
@click.option("--settings", required=True, type=FILE)
@party_command("witness")
def run(here: Surroundings, settings: Path) -> None:
    """Confirm the broker's log head until interrupted."""
    read, stopped = WitnessSettings.read(settings), threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stopped.set())
    here.run([Noted(text=f"watching {read.attestation_url}")])
    watch(build(read), read.poll_seconds, stopped)


@witness.command()
@click.option("--settings", required=True, type=FILE)
@click.option("--successor", required=True, metavar="URL", help="Attestation service of the broker that takes over.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("retired.json"), show_default=True)
@party_command("witness")
def retire(here: Surroundings, settings: Path, successor: str, output: Path) -> None:
    """Confirm that the guarded broker is over, in favour of one other. It is never confirmed again."""
    here.run(recovery.retire(build(WitnessSettings.read(settings)), successor, output))
