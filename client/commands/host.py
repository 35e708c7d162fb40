"""`cloister host profile` (side: owner; what has to do with a TPM, host)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from client import hosts
from client.commands.options import PATH, Surroundings, party_command
from client.commands.types import DIRECTORY, FILE


@click.group()
def host() -> None:
    """Measured hosts: what they may run (docs/host-profile.md). `verify host` judges one."""


@host.command()
@click.argument("profile_name", metavar="NAME")
@click.option("--from-list", "lists", type=FILE, multiple=True, help="What ran: a list of IMA, or of the recorder.")
@click.option("--from-tree", "trees", type=DIRECTORY, multiple=True, help="Every file below this directory.")
@click.option("--mounted-at", type=PATH, help="Where the tree lies on the host (default: where it lies here).")
@click.option("--exclude", "exclusions", multiple=True, metavar="PATTERN", help="Any content may run from there.")
@click.option("--allow-writes", is_flag=True, help="Any file may be written while it runs: no quote says which was.")
@click.option("--signing-key", "signing_keys", type=FILE, multiple=True, help="What it signed may run (DER).")
@click.option("--tpm", default="/dev/tpmrm0", show_default=True, help="Of a host that booted as allowed.")
@click.option("--without-boot-log", is_flag=True, help="The host has no boot log to show.")
@click.option("--previous", type=DIRECTORY, help="A profile of before: all that it allows stays allowed.")
@click.option("-o", "--output", type=PATH, required=True, help="A new directory for profile and files.")
@party_command("owner")
def profile(
    here: Surroundings,
    profile_name: str,
    *,
    lists: tuple[Path, ...],
    trees: tuple[Path, ...],
    mounted_at: Path | None,
    exclusions: tuple[str, ...],
    allow_writes: bool,
    signing_keys: tuple[Path, ...],
    tpm: str,
    without_boot_log: bool,
    previous: Path | None,
    output: Path,
) -> None:
    """Sign what a host may run, and how it may boot: run this on one that has run and booted as it shall."""
    if not lists and not trees:
        raise click.UsageError("name what may run: --from-list or --from-tree")
    if mounted_at is not None and len(trees) != 1:
        raise click.UsageError("--mounted-at is for one --from-tree")
    wanted = hosts.Wanted(
        name=profile_name, exclusions=exclusions, signing_keys=signing_keys,
        has_boot_log=not without_boot_log, may_be_written=allow_writes,
    )  # fmt: skip
    claims = _claims(lists, trees, mounted_at, exclusions)
    here.run(hosts.make_profile(here.party, wanted, claims, tpm, previous, output))


def _claims(
    lists: Iterable[Path], trees: Iterable[Path], mounted_at: Path | None, exclusions: tuple[str, ...]
) -> Iterator[bytes]:
    for one in lists:
        yield from hosts.claims_of_list(one, exclusions)
    for tree in trees:
        yield from hosts.claims_of_tree(tree, mounted_at or tree.resolve(), exclusions)
