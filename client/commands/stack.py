"""`cloister up|status|down|clean|backup|restore`: the embedded stack (side: owner: a person who tries it)."""

from pathlib import Path
from typing import Final, Literal

import click

from client.commands.options import PATH, Surroundings, party_command
from client.commands.state_directory import require_embedded
from client.events import Ended, Noted, StateCopied
from client.stack_access import ENDPOINTS_FILE, stack_seen, start_stack
from common.sandbox.probe import sandbox_walls
from deploy.embedded.backup import BackupIndex, back_up
from deploy.embedded.backup import restore as restore_state
from deploy.embedded.idleness import until_idle
from deploy.embedded.stack import EmbeddedStack
from deploy.embedded.state import StateDirectory
from deploy.embedded.supervisor import DEFAULT_TABLE

TABLES: Final = {"rabbitmq": DEFAULT_TABLE, "direct": "deploy.embedded.table:direct_stack"}
"""Services of a stack by how frames travel in it."""


@click.command()
@click.option(
    "--hand-over", is_flag=True, help="After a change of code: let the older build's broker hand its state over."
)
@click.option(
    "--leave-behind", is_flag=True, help="Hand over also where terms do not accept the new build: those keys stay."
)
@click.option(
    "--frames",
    type=click.Choice(sorted(TABLES)),
    default="rabbitmq",
    show_default=True,
    help="How a job's frames travel: through RabbitMQ, or straight from relay to relay.",
)
@party_command("owner")
def up(here: Surroundings, hand_over: bool, leave_behind: bool, frames: str) -> None:
    """Start all services on this machine and wait until they are ready."""
    require_embedded()
    stack, hand_over = EmbeddedStack(here.state, TABLES[frames]), hand_over or leave_behind
    here.run(start_stack(stack, tied=False, hand_over=hand_over, leave_behind=leave_behind))


@click.command()
@party_command("owner")
def status(here: Surroundings) -> None:
    """Show the services, what each waits for, and which walls this machine's kernel adds around provider code."""
    require_embedded()
    stack = EmbeddedStack(here.state)
    walls = Noted(text=f"around provider code on this machine: {sandbox_walls()}")
    here.run([stack_seen(stack.state.root, stack.status()), walls])


@click.command()
@click.option("--when-idle", is_flag=True, help="Wait until every job has ended: none goes on under another build.")
@party_command("owner")
def down(here: Surroundings, when_idle: bool) -> None:
    """Stop all services; what was stored stays."""
    require_embedded()
    if when_idle:
        here.run(Noted(text=f"{count} jobs are under way") for count in until_idle(StateDirectory(here.state)))
    stopped = EmbeddedStack(here.state).stop()
    (here.state / ENDPOINTS_FILE).unlink(missing_ok=True)
    here.run([Ended(identifier=str(here.state), state="stopped" if stopped else "was down")])


@click.command()
@party_command("owner")
def clean(here: Surroundings) -> None:
    """Delete the state directory of a stack that is down: keys of its broker, ciphertext, jobs, everything."""
    require_embedded()
    removed = EmbeddedStack(here.state).clean()
    here.run([Ended(identifier=str(here.state), state="deleted" if removed else "was not there")])


@click.command()
@click.argument("directory", type=PATH)
@party_command("owner")
def backup(here: Surroundings, directory: Path) -> None:
    """Copy all state to a new directory, as secret as the state. A stack that is down starts again from it."""
    require_embedded()
    here.run([_copied("made", directory, back_up(StateDirectory(here.state), directory))])


@click.command()
@click.argument("directory", type=PATH)
@click.option("--over-newer", is_flag=True, help="Also over a newer state of the key broker, which witnesses remember.")
@party_command("owner")
def restore(here: Surroundings, directory: Path, over_newer: bool) -> None:
    """Put a backup in the place of the state of a stack that is down. What was there is kept beside it."""
    require_embedded()
    state = StateDirectory(here.state)
    here.run([_copied("restored", state.root, restore_state(state, directory, over_newer=over_newer))])


def _copied(how: Literal["made", "restored"], directory: Path, index: BackupIndex) -> StateCopied:
    total = sum(file.bytes for file in index.files)
    told = {"state": how, "directory": str(directory), "files": len(index.files), "bytes": total}
    return StateCopied.model_validate({**told, "made_at": index.made_at, "was_up": index.was_up})
