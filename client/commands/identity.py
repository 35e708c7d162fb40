"""`cloister identity bind|revoke|replace` (side: owner)."""

from pathlib import Path

import click

from client import identity as operations
from client.commands.options import Surroundings, party_command
from client.commands.types import FILE
from common.crypto.recovery_key import RecoveryKey

_recovery_option = click.option(
    "--recovery-key", "recovery_file", required=True, type=FILE, help="The file that `keygen` wrote apart."
)


@click.group()
def identity() -> None:
    """One's own identity: make its recovery key known; end it when its key is lost or stolen."""


@identity.command()
@party_command("owner")
def bind(here: Surroundings) -> None:
    """Make this identity, with its recovery key, known to the pinned key broker. `pin` does it, too.

    The first word counts: a recovery key is never added or changed later, but by being replaced with its identity.
    """
    here.run(operations.bind(here.party))


@identity.command()
@_recovery_option
@party_command("owner")
def revoke(here: Surroundings, recovery_file: Path) -> None:
    """End an identity: its key signs nothing any more, and its things stand still until it is replaced.

    --as names any identity of this machine that has pinned the key broker, the lost one or another; it only asks.
    """
    here.run(operations.revoke(here.party, RecoveryKey.read(recovery_file)))


@identity.command()
@_recovery_option
@click.option("--new", "new_name", required=True, metavar="NAME", help="The identity that goes on; `keygen` made it.")
@click.option(
    "--stolen-since",
    "void_from",
    type=click.IntRange(min=0),
    metavar="NUMBER",
    help="The key was stolen: what the broker decided on its word in this entry of its log or later is void.",
)
@click.option("--lost", is_flag=True, help="The key was lost, and nobody else has it: all that it signed stands.")
@party_command("owner")
def replace(here: Surroundings, recovery_file: Path, new_name: str, void_from: int | None, *, lost: bool) -> None:
    """Let another identity go on with everything of a lost or stolen one. For good.

    --as names the old identity's directory, from which pins, documents and object keys come along as far as they are
    there. `cloister audit show` tells the numbers of the log's entries.
    """
    if (void_from is None) != lost:
        raise click.UsageError("say either --lost or --stolen-since NUMBER (0: nothing that it signed stands)")
    successor = here.other_party(new_name)
    here.run(operations.replace(here.party, RecoveryKey.read(recovery_file), successor, void_from))
