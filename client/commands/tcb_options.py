"""Options that state TCB terms over machines: of a release, or of a party that pins one (side: owner)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from client.commands.options import CommandT, with_options
from client.commands.types import FILE, FMSPC, PLATFORM
from common.messages.tcb_terms import TcbStatus, TcbTerms

_OPTIONS: Final = (
    click.option("--tcb", "tcb_file", type=FILE, help="TCB terms over machines as JSON; the options below override."),
    click.option(
        "--accept-status", "accepted_statuses", multiple=True, type=click.Choice([one.value for one in TcbStatus])
    ),
    click.option("--reject-advisory", "rejected_advisories", multiple=True, metavar="INTEL-SA-NNNNN"),
    click.option("--min-tcb-evaluation", type=click.IntRange(min=0), help="Oldest TCB evaluation data number."),
    click.option("--allow-fmspc", "allowed_fmspcs", multiple=True, type=FMSPC),
    click.option("--deny-fmspc", "denied_fmspcs", multiple=True, type=FMSPC),
    click.option("--deny-platform", "denied_platforms", multiple=True, type=PLATFORM),
)


def tcb_options(command: CommandT) -> CommandT:
    """These options; what they say goes to `chosen_tcb`."""
    return with_options(command, _OPTIONS)


def chosen_tcb(file: Path | None, options: Mapping[str, Any]) -> TcbTerms | None:
    """The terms of the file with what the options say; None where nothing was said. Raises `FormatError`."""
    said = {name: value for name, value in options.items() if value not in (None, ())}
    if file is None and not said:
        return None
    if "accepted_statuses" in said:
        said["accepted_statuses"] = tuple(map(TcbStatus, said["accepted_statuses"]))
    terms = TcbTerms() if file is None else TcbTerms.decode(file.read_bytes())
    return TcbTerms.model_validate({**dict(terms), **said})
