"""`cloister doctor` (side: owner: the operator's own machine)."""

import click

from client.commands.options import Surroundings, party_command
from client.commands.state_directory import require_embedded
from client.doctor import examine
from client.events import Event, Examined


@click.command()
@party_command("owner")
def doctor(here: Surroundings) -> None:
    """Examine this machine and its stack: each part is ok, or has what mends it. Status 1 if one must be mended."""
    require_embedded()
    to_mend: list[Event] = []
    here.run(
        examine(here.state),
        tap=lambda event: to_mend.append(event) if isinstance(event, Examined) and event.state == "mend" else None,
    )
    if to_mend:
        raise SystemExit(1)
