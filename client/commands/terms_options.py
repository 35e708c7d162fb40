"""What a provider says about a bundle, as options of every command that signs terms (side: owner)."""

from typing import Final

import click

from client.commands.options import CommandT, with_options
from client.commands.types import FILE, PARTY_KEY

_OPTIONS: Final = (
    click.option("--terms", "source", type=FILE, help="Terms as YAML (docs/policy.md); options override."),
    click.option(
        "--owner", "owners", multiple=True, type=PARTY_KEY, help="Owner who may train with it (default: anybody)."
    ),
    click.option(
        "--user", "users", multiple=True, type=PARTY_KEY, help="User who may ask its models (default: anybody)."
    ),
    click.option(
        "--answers", "answers_total", type=int, help="Answers of all its models together (default: 1,000,000)."
    ),
    click.option("--detail", type=click.Choice(["label", "scores"]), help="The most that an answer tells."),
    click.option("--days", type=int, help="Life of these terms (default: 365)."),
)


def terms_options(command: CommandT) -> CommandT:
    """Add them to a command."""
    return with_options(command, _OPTIONS)
