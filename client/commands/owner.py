"""`cloister owner pin|seal|upload|policy|ledger|train|watch|jobs|cancel|grant|revoke|delete` (side: owner)."""

from pathlib import Path
from typing import Any

import click

from client import granting, ordering, policy_changes
from client import owner as operations
from client.commands.options import Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.policy import terms_of
from client.commands.types import BUNDLE, DATASET, DIGEST, DIRECTORY, FILE, JOB, MODEL, PARTY_KEY
from client.ledger import read_ledger
from client.policy_terms import PolicyTerms
from client.scheduling import ScheduleWishes
from common.identifiers import BundleId, DatasetId, GrantId, JobId, ModelId, PartyKey
from common.messages.order import ToolchainWish


@click.group()
def owner() -> None:
    """Owners of data: seal it, say who may do what with it, train on it, let users ask."""


owner.add_command(pin_command("owner"))


@owner.command()
@click.argument("source", metavar="FILE.npz", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New directory for the ciphertext.")
@party_command("owner")
def seal(here: Surroundings, source: Path, output: Path | None) -> None:
    """Seal the columns of an NPZ file on this machine."""
    here.run(operations.seal(here.party, source, output or Path(f"{source.stem}.sealed")))


@owner.command()
@click.argument("sealed", type=DIRECTORY)
@click.option("--approver", "approvers", multiple=True, type=PARTY_KEY, help="Who must agree to changes of the policy.")
@click.option("--approvals", type=click.IntRange(min=0), default=0, show_default=True, help="How many of them.")
@party_command("owner")
def upload(here: Surroundings, sealed: Path, approvers: tuple[PartyKey, ...], approvals: int) -> None:
    """Upload a sealed directory (continues where it stopped) and register it. Nobody may use it yet."""
    here.run(operations.upload(here.party, sealed, operations.Quorum(approvers, approvals)))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@click.option("--file", "source", type=FILE, help="Policy as YAML (docs/policy.md); options override.")
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
@click.option(
    "--sandbox",
    "sandboxes",
    multiple=True,
    type=click.Choice(["native", "wasm"]),
    help="How provider code is confined (default: native).",
)
@click.option("--column", "columns", multiple=True, help="Column that may be read (default: all).")
@click.option("--max-jobs", type=int, help="How many orders may be accepted.")
@click.option("--max-attempts", type=int, help="How often a slot may start anew in one job.")
@click.option("--min-trainers", type=int, help="Fewest trainers of a job.")
@click.option("--max-trainers", type=int, help="Most trainers of a job.")
@click.option("--user", "users", multiple=True, type=PARTY_KEY, help="Who may ask (default: whom all owners grant).")
@click.option("--answers", "answers_total", type=int, help="Answers that all models of it may give.")
@click.option("--detail", type=click.Choice(["label", "scores"]), help="The most that an answer tells.")
@click.option(
    "--refusal-report",
    type=click.Choice(["none", "classes"]),
    help="What a provider is told of a job's end beyond what everybody sees (default: none).",
)
@click.option("--max-bits", type=int, help="Bits that may leave by attempts, answers and reports to providers.")
@click.option("--days", type=int, help="Life of this policy.")
@click.option("--propose", type=click.Path(path_type=Path), help="Only write it, for its approvers to sign.")
@click.option("--approved", multiple=True, type=FILE, help="A proposal with approvals, to be put in force as it is.")
@party_command("owner")
def policy(
    here: Surroundings,
    dataset_id: DatasetId,
    source: Path | None,
    propose: Path | None,
    approved: tuple[Path, ...],
    **options: Any,
) -> None:
    """Sign the next version of a data set's policy. What is not allowed is refused."""
    if approved:
        here.run(policy_changes.submit_approved(here.party, dataset_id, approved))
        return
    terms = terms_of(source, options, PolicyTerms)
    if propose is not None:
        here.run(policy_changes.propose(here.party, dataset_id, terms, propose))
    else:
        here.run(operations.set_policy(here.party, dataset_id, terms))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@click.argument("bundle_id", metavar="BUNDLE", type=BUNDLE)
@click.option("--trainers", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--rounds", default=ScheduleWishes.rounds, show_default=True)
@click.option("--steps", default=ScheduleWishes.steps, show_default=True, help="Local steps in a round.")
@click.option("--batch", default=ScheduleWishes.batch, show_default=True, help="Rows in a local step.")
@click.option(
    "--tick-ms", "tick_milliseconds", type=int, help="Between frames (default: by a round's length, 100 to 1000)."
)
@click.option(
    "--ahead/--lockstep",
    "rounds_ahead",
    default=True,
    show_default=True,
    help="Whether trainers go on while a round is exchanged.",
)
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
@click.option(
    "--warmup",
    "warmup_seconds",
    type=click.IntRange(min=0, max=600),
    help="Seconds before the first round: enclaves start, design code compiles (default: by the bundle's size).",
)
@click.option(
    "--toolchain",
    type=click.Choice(["auto", "fp32", "bf16"]),
    default="auto",
    show_default=True,
    help="What is trained in; auto: bfloat16 where all trainers' processors have AMX, else float32.",
)
@click.option("--outer-rate", type=click.FloatRange(0, 10, min_open=True), default=1.0, show_default=True)
@click.option(
    "--outer-momentum",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Nesterov's, of the mean of the trainers' changes; sealed to the job.",
)
@party_command("owner")
def train(
    here: Surroundings,
    dataset_id: DatasetId,
    bundle_id: BundleId,
    trainers: int,
    toolchain: ToolchainWish,
    outer_rate: float,
    outer_momentum: float,
    **wishes: Any,
) -> None:
    """Sign a training order and submit it. Shows what the host will see of the job."""
    outer = ordering.OuterRule(outer_rate, outer_momentum)
    training = ordering.Training(dataset_id, bundle_id, trainers, ScheduleWishes(**wishes), toolchain, outer)
    here.run(ordering.train(here.party, training))


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
    """Cancel a job. One that has finished has its model revoked: nobody is granted answers of it any more."""
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
@click.argument("ended", metavar="GRANT|JOB|DATASET", type=click.UNPROCESSED)
@party_command("owner")
def revoke(here: Surroundings, ended: str) -> None:
    """End a grant: its user draws no more answers. Of a job or a data set, the same as `cancel` or `delete`."""
    if ended.startswith("job_"):
        here.run(ordering.cancel(here.party, JobId(ended)))
    elif ended.startswith("data_"):
        here.run(operations.delete(here.party, DatasetId(ended)))
    else:
        here.run(granting.revoke(here.party, GrantId(ended)))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@party_command("owner")
def ledger(here: Surroundings, dataset_id: DatasetId) -> None:
    """Show what has left a data set, in bits: every attempt and every answer that it was charged for."""
    here.run(read_ledger(here.party, dataset_id))


@owner.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@party_command("owner")
def delete(here: Surroundings, dataset_id: DatasetId) -> None:
    """Revoke a data set: the broker destroys its key, the operator is asked to delete the ciphertext."""
    here.run(operations.delete(here.party, dataset_id))
