"""`cloister witness run`, `retire`, `define-counter` (side: owner; what has to do with a TPM, host)."""

import signal
import threading
from pathlib import Path

import click

from client import recovery
from client.commands.options import Surroundings, party_command
from client.commands.types import FILE
from client.events import Noted
from client.tpm.defining import define_counter as define
from client.witness import DEFAULT_INDEX, WitnessSettings, build, watch
from client.witnessing import Witness
from common.errors import FormatError


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


@witness.command()
@click.option("--settings", required=True, type=FILE)
@click.option("--successor", required=True, metavar="URL", help="Attestation service of the broker that takes over.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("retired.json"), show_default=True)
@party_command("witness")
def retire(here: Surroundings, settings: Path, successor: str, output: Path) -> None:
    """Confirm that the guarded broker is over, in favour of one other. It is never confirmed again."""
    guard = build(WitnessSettings.read(settings))
    if not isinstance(guard, Witness):
        raise FormatError("format.message", expected="the settings of a witness that remembers heads")
    here.run(recovery.retire(guard, successor, output))
