"""The command `cloister` (side: owner). It decides nothing: commands render what SDK operations tell."""

import importlib
from typing import Final

import click

from client.commands.state_directory import CONTEXT
from common import __version__

_MODULES: Final = {
    "demo": "demo",
    **dict.fromkeys(("up", "status", "down", "clean", "backup", "restore"), "stack"),
    "compose": "compose",
    "doctor": "doctor",
    "enclaves": "enclaves",
    "kubernetes": "kubernetes",
    **dict.fromkeys(("keygen", "measure", "explain"), "keys"),
    "policy": "policy",
    "provider": "provider",
    "owner": "owner",
    "user": "user",
    "watch": "watch",
    "verify": "verify",
    "host": "host",
    "audit": "audit",
    "attestation": "attestation",
    "witness": "witness",
    "recovery": "recovery",
    "release": "release",
    "identity": "identity",
    "enrolment": "enrolment",
}
"""Commands, each with the module of client/commands that has it."""


class _Commands(click.Group):
    """Imports a command when it is called for: some take longer to import than others to run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        return sorted(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        if cmd_name not in _MODULES:
            return None
        command: click.Command = getattr(importlib.import_module(f"client.commands.{_MODULES[cmd_name]}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="cloister")
@click.option(
    CONTEXT,
    metavar="NAME",
    envvar="CLOISTER_CONTEXT",
    help="The stack whose directory is .cloister-NAME, and not the embedded one: `compose` for docker-compose.yml.",
)
def main(context: str | None) -> None:
    """Confidential machine learning: secret code trains on secret data, and neither meets the other."""


if __name__ == "__main__":
    main(prog_name="cloister")
