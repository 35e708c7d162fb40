"""`cloister watch`, which is `cloister owner watch`, too (side: owner)."""

from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from client.commands.options import PATH, Surroundings, party_command
from client.commands.types import JOB
from client.events import Event, Noted
from client.rendering import Terminal, live_view
from client.watching.curves import Curves
from client.watching.live import live
from common.identifiers import JobId

INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell says it."""


@click.command()
@click.argument("job_id", metavar="JOB", type=JOB)
@click.option("--plot", type=PATH, help="Write loss and throughput there at the end: FILE.svg or FILE.csv.")
@party_command("owner")
def watch(here: Surroundings, job_id: JobId, plot: Path | None) -> None:
    """Follow a job to its end. Its owner sees what enclaves seal to it, its provider public figures alone.

    Ctrl-C ends the watching, not the job.
    """
    curves = None if plot is None else Curves(plot, job_id)
    if isinstance(here.show, Terminal):
        here = replace(here, show=live_view(here.show, job_id))
    try:
        here.run(live(here.party, job_id), (lambda _: None) if curves is None else curves.take)
        stopped = False
    except KeyboardInterrupt:
        stopped = True
    last: list[Event] = [] if curves is None else [curves.write()]
    if stopped:
        last.append(Noted(text=f"the job goes on: cloister watch {job_id} looks again"))
    here.run(last)
    if stopped:
        raise SystemExit(INTERRUPTED)
