"""`cloister owner pin|seal|upload|policy|train|watch|jobs|cancel|grant|delete` (side: owner)."""

from pathlib import Path
from typing import Any

import click

from client import granting, ordering
from client import owner as operations
from client.commands.options import Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.types import BUNDLE, DATASET, DIGEST, JOB, MODEL, PARTY_KEY
from client.policy_terms import PolicyTerms
from client.scheduling import ScheduleWishes
from common.identifiers import BundleId, DatasetId, JobId, ModelId, PartyKey


@click.group()
def owner() -> None:
    """Owners of data: seal it, say who may do what with it, train on it, let users ask."""


owner.add_command(pin_command("owner"))


@owner.command()
@click.argument("source", metavar="FILE.npz", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New directory for the ciphertext.")
@party_command("owner")
def seal(here: Surroundings, source: Path, output: Path | None) -> None:
    """Seal the columns of an NPZ file on this machine."""
    here.run(operations.seal(here.party, source, output or Path(f"{source.stem}.sealed")))


@owner.command()
@click.argument("sealed", type=click.Path(exists=True, file_okay=False, path_type=Path))
@party_command("owner")
def upload(here: Surroundings, sealed: Path) -> None:
    """Upload a sealed directory (continues where it stopped) and register it. Nobody may use it yet."""
    here.run(operations.upload(here.party, sealed))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@click.option("--file", "source", type=click.Path(exists=True, path_type=Path), help="Terms as JSON; options override.")
@click.option("--provider", "providers", multiple=True, type=PARTY_KEY, help="Provider whose code may be trained.")
@click.option("--bundle", "bundles", multiple=True, type=DIGEST, help="Root of a bundle (default: all of theirs).")
@click.option("--release", "releases", multiple=True, type=DIGEST, help="Release digest (default: the pinned one).")
@click.option(
    "--revoke-release",
    "revoked_releases",
    multiple=True,
    type=DIGEST,
    help="Release that may not go on with this data: running jobs and models lose their keys.",
)
@click.option("--max-jobs", type=int, help="How many orders may be accepted.")
@click.option("--max-attempts", type=int, help="How often a slot may start anew in one job.")
@click.option("--min-trainers", type=int, help="Fewest trainers of a job.")
@click.option("--max-trainers", type=int, help="Most trainers of a job.")
@click.option("--answers", "answers_total", type=int, help="Answers that all models of it may give.")
@click.option("--days", type=int, help="Life of this policy.")
@party_command("owner")
def policy(here: Surroundings, dataset_id: DatasetId, source: Path | None, **options: Any) -> None:
    """Sign the next version of a data set's policy. What is not allowed is refused."""
    terms = PolicyTerms() if source is None else PolicyTerms.decode(source.read_bytes())
    said = {name: value for name, value in options.items() if value not in (None, ())}
    merged = PolicyTerms.model_validate({**terms.model_dump(), **said})
    here.run(operations.set_policy(here.party, dataset_id, merged))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@click.argument("bundle_id", metavar="BUNDLE", type=BUNDLE)
@click.option("--trainers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", default=ScheduleWishes.rounds, show_default=True)
@click.option("--steps", default=ScheduleWishes.steps, show_default=True, help="Local steps in a round.")
@click.option("--batch", default=ScheduleWishes.batch, show_default=True, help="Rows in a local step.")
@click.option("--tick-ms", "tick_milliseconds", default=ScheduleWishes.tick_milliseconds, show_default=True)
@click.option(
    "--step-ms",
    "step_milliseconds",
    default=ScheduleWishes.step_milliseconds,
    show_default=True,
    help="What one local step takes at most.",
)
@click.option(
    "--slack",
    "slack_percent",
    default=ScheduleWishes.slack_percent,
    show_default=True,
    help="Length of the schedule in percent of what the rounds need.",
)
@party_command("owner")
def train(here: Surroundings, dataset_id: DatasetId, bundle_id: BundleId, trainers: int, **wishes: int) -> None:
    """Sign a training order and submit it. Shows what the host will see of the job."""
    here.run(ordering.train(here.party, ordering.Training(dataset_id, bundle_id, trainers, ScheduleWishes(**wishes))))


@owner.command()
@click.argument("job_id", metavar="JOB", type=JOB)
@party_command("owner")
def watch(here: Surroundings, job_id: JobId) -> None:
    """Follow a job to its end, with the metrics that its enclaves seal to this owner."""
    here.run(ordering.watch(here.party, job_id))


@owner.command()
@party_command("owner")
def jobs(here: Surroundings) -> None:
    """List this owner's jobs."""
    here.run(ordering.jobs(here.party))


@owner.command()
@click.argument("job_id", metavar="JOB", type=JOB)
@party_command("owner")
def cancel(here: Surroundings, job_id: JobId) -> None:
    """Cancel a job."""
    here.run(ordering.cancel(here.party, job_id))


@owner.command()
@click.option("--user", required=True, type=PARTY_KEY, help="Who may ask.")
@click.option("--model", "model_id", required=True, type=MODEL)
@click.option("--answers", required=True, type=click.IntRange(min=1), help="How many rows may be answered.")
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--labels-only", is_flag=True, help="Answer with labels, not with scores.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("grant.json"), show_default=True)
@party_command("owner")
def grant(
    here: Surroundings, user: PartyKey, model_id: ModelId, answers: int, days: int, output: Path, *, labels_only: bool
) -> None:
    """Let a user ask a model; hand the file to that user."""
    terms = granting.GrantTerms(answers, days, "label" if labels_only else "scores")
    here.run(granting.grant(here.party, user, model_id, terms, output))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@party_command("owner")
def delete(here: Surroundings, dataset_id: DatasetId) -> None:
    """Revoke a data set: the broker destroys its key, the operator is asked to delete the ciphertext."""
    here.run(operations.delete(here.party, dataset_id))
