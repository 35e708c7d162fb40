"""`cloister audit fetch|verify|show|reasons` (side: verifier)."""

from pathlib import Path

import click

from client import audit as operations
from client import refusal_reasons
from client.commands.options import Surroundings, party_command
from client.commands.types import DATASET, FILE, JOB, MODEL
from common.identifiers import DatasetId, JobId, ModelId


@click.group()
def audit() -> None:
    """The key broker's decision log: what it released, refused and revoked, for whom, on what evidence."""


@audit.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("broker.log"), show_default=True)
@party_command("owner")
def fetch(here: Surroundings, output: Path) -> None:
    """Get the log, verify it, and keep it in a file."""
    here.run(operations.fetch(here.party, output))


@audit.command()
@click.argument("source", metavar="FILE", type=FILE)
@click.option("--seen", multiple=True, type=FILE, help="A witness's memory or another fetched log to hold it against.")
@party_command("owner")
def verify(here: Surroundings, source: Path, seen: tuple[Path, ...]) -> None:
    """Verify a fetched log, offline: its signed head, every leaf, and that it extends what was seen before.

    Or a kept proof that something was revoked or retired (proofs/ID.json of the identity directory).
    """
    here.run(operations.verify(here.party, source, seen))


@audit.command()
@click.argument("source", metavar="[FILE]", required=False, type=FILE)
@click.option("--dataset", type=DATASET, help="Entries about a data set.")
@click.option("--job", type=JOB, help="Entries about a job, and about what it uses.")
@click.option("--model", type=MODEL, help="Entries about a model and the job that made it.")
@party_command("owner")
def show(
    here: Surroundings, source: Path | None, dataset: DatasetId | None, job: JobId | None, model: ModelId | None
) -> None:
    """Tell this party's entries, of a fetched log or of the newest; verified first."""
    if sum(one is not None for one in (dataset, job, model)) > 1:
        raise click.UsageError("name one of --dataset, --job and --model")
    here.run(operations.show(here.party, operations.About(dataset, job, model), source))


@audit.command()
@click.option("--job", type=JOB, help="Of this job alone.")
@click.option("--release", "of_release", is_flag=True, help="As a release key: what releases or the inventory refused.")
@party_command("owner")
def reasons(here: Surroundings, job: JobId | None, *, of_release: bool) -> None:
    """Say why enclaves and orders of others were refused under this party's terms: expected, and seen.

    The key broker keeps the newest 64 for each party, sealed; `audit show` has every refusal's public code.
    """
    here.run(refusal_reasons.read_reasons(here.party, job, of_release=of_release))
