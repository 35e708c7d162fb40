"""What an owner says about the precision that its model is answered in, as options (side: owner).

int8 is judged on one owner's data alone, so an order of several has the choice of the other two.
"""

from collections.abc import Callable
from typing import Any, Final

import click

from client.commands.options import CommandT, with_options
from client.scheduling import QUANTISING_SECONDS
from common.messages.order import AnswerTerms, PrecisionName

HELD_OUT_PERCENT: Final = 10


def _answers_in(*precisions: PrecisionName) -> Callable[[CommandT], CommandT]:
    return click.option(
        "--answers-in",
        type=click.Choice(precisions),
        default="float32",
        show_default=True,
        help="The lowest precision that the model may be answered in.",
    )


JOINT_ANSWER_OPTION: Final = _answers_in("float32", "bfloat16")

_OPTIONS: Final = (
    _answers_in("float32", "bfloat16", "int8"),
    click.option(
        "--int8-drop",
        type=click.FloatRange(0, 100),
        help="Percent points of top-1 that int8 may cost (default: 0.5); else it is float32.",
    ),
    click.option(
        "--held-out",
        type=click.IntRange(1, 50),
        help=f"Percent of the rows that nothing is trained on, to judge int8 by (default: {HELD_OUT_PERCENT}).",
    ),
    click.option(
        "--quantising",
        type=click.IntRange(1, 3600),
        help=f"Seconds at the job's end in which int8 is judged (default: {QUANTISING_SECONDS}).",
    ),
)


def answer_options(command: CommandT) -> CommandT:
    """Adds the options; `answers_of` reads them."""
    return with_options(command, _OPTIONS)


def answers_of(
    answers_in: Any, int8_drop: float | None, held_out: int | None, quantising: int | None
) -> tuple[AnswerTerms, int]:
    """The order's terms, and the seconds in which int8 is judged. Raises `UsageError` for bounds without it."""
    if answers_in != "int8":
        if (int8_drop, held_out, quantising) != (None, None, None):
            raise click.UsageError("--int8-drop, --held-out and --quantising are of --answers-in int8")
        return AnswerTerms(lowest=answers_in), 0
    most = AnswerTerms.model_fields["most_drop_points"].default if int8_drop is None else int8_drop
    percent = HELD_OUT_PERCENT if held_out is None else held_out
    terms = AnswerTerms(lowest="int8", most_drop_points=most, held_out_percent=percent)
    return terms, QUANTISING_SECONDS if quantising is None else quantising
