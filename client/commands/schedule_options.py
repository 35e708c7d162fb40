"""What an owner says about a job's length and traffic, as options of every command that orders one (side: owner)."""

from typing import Final

import click

from client.commands.options import CommandT, with_options
from client.scheduling import ScheduleWishes

_OPTIONS: Final = (
    click.option("--trainers", type=click.IntRange(min=1), default=2, show_default=True),
    click.option(
        "--minimal-trainers",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="A round counts with the deltas of so many at least; the job waits while fewer are there.",
    ),
    click.option(
        "--minimal-rounds",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="No model unless trainers on the data of each owner had part in so many rounds.",
    ),
    click.option("--rounds", default=ScheduleWishes.rounds, show_default=True),
    click.option("--steps", default=ScheduleWishes.steps, show_default=True, help="Local steps in a round."),
    click.option("--batch", default=ScheduleWishes.batch, show_default=True, help="Rows in a local step."),
    click.option(
        "--tick-ms", "tick_milliseconds", type=int, help="Between frames (default: by a round's length, 100 to 1000)."
    ),
    click.option(
        "--ahead/--lockstep",
        "rounds_ahead",
        default=True,
        show_default=True,
        help="Whether trainers go on while a round is exchanged.",
    ),
    click.option(
        "--step-ms",
        "step_milliseconds",
        default=ScheduleWishes.step_milliseconds,
        show_default=True,
        help="What one local step takes at most.",
    ),
    click.option(
        "--slack",
        "slack_percent",
        default=ScheduleWishes.slack_percent,
        show_default=True,
        help="Length of the schedule in percent of what the rounds need.",
    ),
    click.option(
        "--warmup",
        "warmup_seconds",
        type=click.IntRange(min=0, max=600),
        help="Seconds before the first round: enclaves start, design code compiles (default: by the bundle's size).",
    ),
    click.option(
        "--reads",
        "reads_per_tick",
        type=click.IntRange(min=1, max=1024),
        help="Chunks of 1 MiB that each trainer reads in a tick (default: by the data's size).",
    ),
    click.option(
        "--toolchain",
        type=click.Choice(["auto", "fp32", "bf16"]),
        default="auto",
        show_default=True,
        help="What is trained in; auto: bfloat16 where all trainers can (AMX, or a GPU), else float32.",
    ),
    click.option(
        "--device",
        type=click.Choice(["cpu", "cuda"]),
        default="cpu",
        show_default=True,
        help="What trainers compute with. A GPU is in no hardware TEE: docs/gpu.md says what it leaves open.",
    ),
    click.option(
        "--answer-timing",
        type=click.Choice(["padded", "immediate"]),
        default="padded",
        show_default=True,
        help="When the model's answers leave; immediate: when they are ready, and provider code may not answer.",
    ),
)


def schedule_options(command: CommandT) -> CommandT:
    """Adds the options: trainers, minima, toolchain, device, timing of answers, and the fields of `ScheduleWishes`."""
    return with_options(command, _OPTIONS)
