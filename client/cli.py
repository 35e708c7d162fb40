"""The command `cloister` (side: owner). It decides nothing: commands render what SDK operations tell."""

import click

from client.commands.attestation import attestation
from client.commands.audit import audit
from client.commands.demo import demo
from client.commands.enrolment import enrolment
from client.commands.identity import identity
from client.commands.keys import explain, keygen, measure
from client.commands.owner import owner
from client.commands.policy import policy
from client.commands.provider import provider
from client.commands.recovery import recovery
from client.commands.release import release
from client.commands.stack import clean, down, status, up
from client.commands.user import user
from client.commands.verify import verify
from client.commands.witness import witness
from common import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="cloister")
def main() -> None:
    """Confidential machine learning: secret code trains on secret data, and neither meets the other."""


for _command in (demo, up, status, down, clean, keygen, measure, explain):
    main.add_command(_command)
for _command in (
    policy,
    provider,
    owner,
    user,
    verify,
    audit,
    attestation,
    witness,
    recovery,
    release,
    identity,
    enrolment,
):
    main.add_command(_command)


if __name__ == "__main__":
    main(prog_name="cloister")
