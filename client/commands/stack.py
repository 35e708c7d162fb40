"""`cloister up|status|down|clean`: the embedded stack on this machine (side: owner: a person who tries it)."""

import click

from client.commands.options import Surroundings, party_command
from client.events import Ended
from client.stack_access import ENDPOINTS_FILE, stack_seen, start_stack
from deploy.embedded.stack import EmbeddedStack


@click.command()
@party_command("owner")
def up(here: Surroundings) -> None:
    """Start all services on this machine and wait until they are ready."""
    here.run(start_stack(EmbeddedStack(here.state), tied=False))


@click.command()
@party_command("owner")
def status(here: Surroundings) -> None:
    """Show the services, and what each waits for."""
    stack = EmbeddedStack(here.state)
    here.run([stack_seen(stack.state.root, stack.status())])


@click.command()
@party_command("owner")
def down(here: Surroundings) -> None:
    """Stop all services; what was stored stays."""
    stopped = EmbeddedStack(here.state).stop()
    (here.state / ENDPOINTS_FILE).unlink(missing_ok=True)
    here.run([Ended(identifier=str(here.state), state="stopped" if stopped else "was down")])


@click.command()
@party_command("owner")
def clean(here: Surroundings) -> None:
    """Delete the state directory of a stack that is down: keys of its broker, ciphertext, jobs, everything."""
    removed = EmbeddedStack(here.state).clean()
    here.run([Ended(identifier=str(here.state), state="deleted" if removed else "was not there")])
