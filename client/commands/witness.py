"""`cloister witness run`, `define-counter` (side: owner; what has to do with a TPM, host)."""

import signal
import threading
from pathlib import Path

import click

from client.commands.options import Surroundings, party_command
from client.commands.types import FILE
from client.events import Noted
from client.tpm.defining import define_counter as define
from client.witness import DEFAULT_INDEX, WitnessSettings, build, watch


@click.group()
def witness() -> None:
    """Witnesses: remember the key broker's newest log head, or count it, so that an older state can't come back."""


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


@witness.command("define-counter")
@click.option("--tpm", "device", default="/dev/tpmrm0", show_default=True, help="Device, or unix:PATH of an emulator.")
@click.option("--index", default=hex(DEFAULT_INDEX), show_default=True, help="NV index of the counter.")
@party_command("witness")
def define_counter(here: Surroundings, device: str, index: str) -> None:
    """Make the counter of this machine's TPM that will witness for a key broker, or show the one that is there."""
    here.run(define(device, index))
