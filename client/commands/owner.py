"""`cloister owner pin|seal|upload|policy|ledger|train|watch|jobs|cancel|grant|revoke|delete` (side: owner).

Names of models: client/commands/serving.
"""

from pathlib import Path
from typing import Any

import click

from client import granting, ordering, policy_changes
from client import owner as operations
from client.commands.answer_options import answer_options, answers_of
from client.commands.joint import joint_group
from client.commands.options import Surroundings, party_command
from client.commands.pin import pin_command
from client.commands.policy import terms_of
from client.commands.schedule_options import schedule_options
from client.commands.serving import SERVING_COMMANDS
from client.commands.types import (
    BUNDLE,
    DATASET,
    DIGEST,
    DIRECTORY,
    FILE,
    FILE_OR_DIRECTORY,
    JOB,
    MODEL_OR_NAME,
    PARTY_KEY,
)
from client.commands.watch import watch
from client.ledger import read_ledger
from client.policy_terms import PolicyTerms
from client.scheduling import ScheduleWishes
from client.serving import served_by
from common.identifiers import BundleId, DatasetId, GrantId, JobId, ModelId, PartyKey
from common.messages.answer_bounds import MOST_DECIMALS, MOST_TOP, AnswerBounds
from common.messages.order import AnswerTiming, DeviceName, PrecisionName, ToolchainWish


@click.group()
def owner() -> None:
    """Owners of data: seal it, say who may do what with it, train on it, let users ask."""


owner.add_command(pin_command("owner"))
owner.add_command(joint_group)
owner.add_command(watch)
for command in SERVING_COMMANDS:
    owner.add_command(command)


@owner.command()
@click.argument("source", metavar="FILE.npz|DIRECTORY", type=FILE_OR_DIRECTORY)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New directory for the ciphertext.")
@party_command("owner")
def seal(here: Surroundings, source: Path, output: Path | None) -> None:
    """Seal the columns of an NPZ file on this machine, or of a directory with NAME.npy for each column."""
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
@schedule_options
@answer_options
@click.option("--outer-rate", type=float, default=1.0, show_default=True, help="The parameter server's learning rate.")
@click.option("--outer-momentum", type=float, default=0.0, show_default=True, help="Its momentum (Nesterov).")
@click.option("--calibrate", is_flag=True, help="Choose the schedule by public figures; options that are given stay.")
@click.option("--dry-run", is_flag=True, help="Only forecast: time, bytes, what each protection costs. Signs nothing.")
@party_command("owner")
def train(
    here: Surroundings,
    dataset_id: DatasetId,
    bundle_id: BundleId,
    trainers: int,
    toolchain: ToolchainWish,
    *,
    device: DeviceName,
    answer_timing: AnswerTiming,
    minimal_trainers: int,
    minimal_rounds: int,
    outer_rate: float,
    outer_momentum: float,
    calibrate: bool,
    dry_run: bool,
    answers_in: PrecisionName,
    int8_drop: float | None,
    held_out: int | None,
    quantising: int | None,
    **wishes: Any,
) -> None:
    """Sign a training order and submit it. Shows what the host will see of the job."""
    source = click.get_current_context().get_parameter_source
    given = frozenset(name for name in wishes if source(name) is not click.core.ParameterSource.DEFAULT)
    answers, seconds = answers_of(answers_in, int8_drop, held_out, quantising)
    training = ordering.Training(
        dataset_id,
        bundle_id,
        trainers,
        ScheduleWishes(**wishes, quantising_seconds=seconds),
        minimal_trainers,
        minimal_rounds,
        toolchain,
        answer_timing,
        calibrate=calibrate,
        keep=given,
        outer_learning_rate=outer_rate,
        outer_momentum=outer_momentum,
        answers=answers,
        device=device,
    )
    here.run((ordering.forecast_training if dry_run else ordering.train)(here.party, training))


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
@click.option("--model", "asked", required=True, type=MODEL_OR_NAME, help="A model, or a name that `promote` gave.")
@click.option("--answers", required=True, type=click.IntRange(min=1), help="How many rows may be answered.")
@click.option("--days", type=click.IntRange(min=1), default=30, show_default=True)
@click.option("--labels-only", is_flag=True, help="Answer with labels, not with scores.")
@click.option("--top", type=click.IntRange(1, MOST_TOP), help="Tell so many of the largest scores (default: all).")
@click.option("--decimals", type=click.IntRange(0, MOST_DECIMALS), help="Tell confidences, rounded (default: scores).")
@click.option("--per-minute", type=click.IntRange(1, 60_000), help="Queries that the user may ask in a minute.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("grant.json"), show_default=True)
@party_command("owner")
def grant(
    here: Surroundings,
    user: PartyKey,
    asked: ModelId | str,
    answers: int,
    days: int,
    output: Path,
    *,
    labels_only: bool,
    top: int | None,
    decimals: int | None,
    per_minute: int | None,
) -> None:
    """Let a user ask a model, or what a name stands for; hand the file to that user."""
    if labels_only and (top, decimals) != (None, None):
        raise click.UsageError("--top and --decimals are of scores, and --labels-only tells none")
    bounds = AnswerBounds(top=top, decimals=decimals, queries_per_minute=per_minute)
    terms = granting.GrantTerms(answers, days, "label" if labels_only else "scores", bounds)
    party = here.party
    named = asked if isinstance(asked, ModelId) else served_by(party, asked)
    here.run(granting.grant(party, user, named, terms, output))


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
