"""`cloister keygen`, `measure`, `explain` (side: owner)."""

import re
from pathlib import Path
from typing import Final

import click

from client import identity
from client.commands.options import PATH, Surroundings, party_command
from client.commands.types import FILE
from client.events import Explained
from client.measuring import digest_cache, measure_roles, read_sigstruct
from common.errors import FormatError
from common.refusals import REFUSALS

NAME_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
"""An identity's name is the name of its directory."""

RECOVERY_SUFFIX: Final = ".recovery"


@click.command()
@click.argument("new_name", metavar="NAME")
@click.option(
    "--unsafe-simulation",
    is_flag=True,
    help="UNSAFE: accept simulated platforms, whose host can read everything. For trying out.",
)
@click.option(
    "--recovery-key",
    "recovery_file",
    type=PATH,
    help="New file for the recovery key (default: NAME.recovery beside the identity's directory).",
)
@click.option("--no-recovery-key", is_flag=True, help="Make none: then nobody ends this identity if it is stolen.")
@party_command("owner")
def keygen(
    here: Surroundings, new_name: str, recovery_file: Path | None, *, unsafe_simulation: bool, no_recovery_key: bool
) -> None:
    """Make an identity: a signing key and a report key, on this machine, and a recovery key to be kept offline."""
    if re.fullmatch(NAME_PATTERN, new_name) is None:
        raise FormatError("format.identifier", expected=f"a name matching {NAME_PATTERN}", seen=new_name)
    recovery = None if no_recovery_key else recovery_file or here.home / f"{new_name}{RECOVERY_SUFFIX}"
    here.run(identity.make(here.home / new_name, new_name, recovery, unsafe_simulation=unsafe_simulation))


@click.command()
@click.option(
    "--trust-settings", type=FILE, help="Measured trust settings; by default those of the stack in the state directory."
)
@click.option(
    "--sig",
    "sigs",
    multiple=True,
    type=FILE,
    help="Read an SGX enclave's `.sig` file (Gramine's signer writes it) instead. May be given several times.",
)
@party_command("owner")
def measure(here: Surroundings, trust_settings: Path | None, sigs: tuple[Path, ...]) -> None:
    """Compute what the enclaves of this checkout measure, or read what signed SGX enclaves do."""
    if sigs:
        here.run(map(read_sigstruct, sigs))
        return
    settings = here.trust_settings(trust_settings)
    here.run(measure_roles(settings, digest_cache()))


@click.command()
@click.argument("code")
@party_command("owner")
def explain(here: Surroundings, code: str) -> None:
    """Say who can mend a refusal, and how. CODE may be the beginning of one."""
    found = {name: text for name, text in REFUSALS.items() if name.startswith(code)}
    if not found:
        raise click.BadParameter(f"no refusal is called {code}; `cloister explain policy` lists a family")
    here.run(Explained(code=name, mender=mender, mend=mend) for name, (mender, mend) in found.items())
