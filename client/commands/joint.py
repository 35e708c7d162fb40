"""`cloister owner joint`: orders, grants and names that several owners sign together (side: owner)."""

from pathlib import Path
from typing import Any

import click

from client import joint, joint_serving, ordering
from client.commands.answer_options import JOINT_ANSWER_OPTION
from client.commands.options import Surroundings, party_command
from client.commands.schedule_options import schedule_options
from client.commands.serving import CANARY_OPTION
from client.commands.types import BUNDLE, DATASET, FILE, MODEL, PARTNER, SERVING_NAME
from client.scheduling import ScheduleWishes
from common.identifiers import BundleId, DatasetId, ModelId
from common.messages.order import AnswerTerms, AnswerTiming, DeviceName, PrecisionName, ToolchainWish


@click.group("joint")
def joint_group() -> None:
    """What several owners sign together: each one's data stay in trainers of their own."""


@joint_group.command()
@click.argument("dataset_id", metavar="DATASET", type=DATASET)
@click.argument("bundle_id", metavar="BUNDLE", type=BUNDLE)
@click.option("--partner", "partners", multiple=True, required=True, type=PARTNER, metavar="DATASET:OWNER[:ROUNDS]",
              help="Another owner's data, and how many rounds its trainers must have part in.")  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("order.json"), show_default=True)
@schedule_options
@JOINT_ANSWER_OPTION
@party_command("owner")
def draft(
    here: Surroundings,
    dataset_id: DatasetId,
    bundle_id: BundleId,
    partners: tuple[joint.Partner, ...],
    output: Path,
    trainers: int,
    minimal_trainers: int,
    minimal_rounds: int,
    toolchain: ToolchainWish,
    *,
    answer_timing: AnswerTiming,
    answers_in: PrecisionName,
    device: DeviceName,
    **wishes: Any,
) -> None:
    """Sign a joint training order as its first owner, and write it for the others."""
    training = ordering.Training(
        dataset_id,
        bundle_id,
        trainers,
        ScheduleWishes(**wishes),
        minimal_trainers,
        minimal_rounds,
        toolchain,
        answer_timing,
        answers=AnswerTerms(lowest=answers_in),
        device=device,
    )
    here.run(joint.draft(here.party, training, partners, output))


@joint_group.command("sign")
@click.argument("order", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it (default: in place).")
@party_command("owner")
def sign_order(here: Surroundings, order: Path, output: Path | None) -> None:
    """Say what a joint order says, and sign it as one of its owners."""
    here.run(joint.agree(here.party, order, output or order))


@joint_group.command()
@click.argument("copies", metavar="ORDER...", nargs=-1, required=True, type=FILE)
@party_command("owner")
def submit(here: Surroundings, copies: tuple[Path, ...]) -> None:
    """Submit a joint order that all owners have signed, in one file or in copies."""
    here.run(joint.submit(here.party, copies))


@joint_group.command("sign-grant")
@click.argument("grant", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it (default: in place).")
@party_command("owner")
def sign_grant(here: Surroundings, grant: Path, output: Path | None) -> None:
    """Say what a grant of a joint model says, and sign it as one of the owners."""
    here.run(joint.agree_grant(here.party, grant, output or grant))


@joint_group.command("promote")
@click.argument("name", type=SERVING_NAME)
@click.argument("model_id", metavar="MODEL", type=MODEL)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("name.json"), show_default=True)
@CANARY_OPTION
@party_command("owner")
def promote_name(here: Surroundings, name: str, model_id: ModelId, output: Path, canary: float | None) -> None:
    """Sign that a name stands for a joint model, and write it for the other owners."""
    here.run(joint_serving.draft_promotion(here.party, name, model_id, round(1000 * (canary or 0)), output))


@joint_group.command("roll-back")
@click.argument("name", type=SERVING_NAME)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("name.json"), show_default=True)
@party_command("owner")
def roll_name_back(here: Surroundings, name: str, output: Path) -> None:
    """Sign that a name's canary ends, or that it stands for the model before; write it for the other owners."""
    here.run(joint_serving.draft_roll_back(here.party, name, output))


@joint_group.command("sign-name")
@click.argument("record", type=FILE)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Where to write it (default: in place).")
@party_command("owner")
def sign_name(here: Surroundings, record: Path, output: Path | None) -> None:
    """Say what a name shall stand for, and sign it as one of the models' owners."""
    here.run(joint_serving.agree_name(here.party, record, output or record))


@joint_group.command("submit-name")
@click.argument("copies", metavar="RECORD...", nargs=-1, required=True, type=FILE)
@party_command("owner")
def submit_name(here: Surroundings, copies: tuple[Path, ...]) -> None:
    """Bring what a name stands for to the broker, signed by all owners, in one file or in copies."""
    here.run(joint_serving.submit_name(here.party, copies))
