"""Events of a watched job as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator
from typing import Final

from client.watching import events as w
from common.messages.policy import Int8Told, JobReport

WatchTold = w.MembersListed | w.RateMeasured | w.ForecastHeld | w.CurvesWritten
Line = tuple[str, str, str]


NOT_JUDGED: Final = {
    "no_graph": "the code does not export to a graph",
    "no_classes": "labels and answers are none of classes",
    "few_rows": "too few rows were held out",
    "absent": "the trainer's processor has no units for it",
    "unsupported": "the graph has an operation that it has not",
    "mixes": "an answer depended on its neighbours",
    "late": "the schedule's time for it was too short",
    "failed": "it did not compile or compute",
    "disagrees": "its answers were too far from those of float32",
    "nothing": "it was not judged",
}
"""Why, by the finding."""


def watch_lines(event: WatchTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case w.MembersListed():
            yield "members", members_words(event), ""
        case w.RateMeasured():
            yield "rate", rate_words(event), ""
        case w.ForecastHeld():
            yield "", f"{'':<36}{'forecast':>18}{'fact':>18}", "bold"
            for figure in event.figures:
                fact = "-" if figure.fact is None else number_words(figure.fact, figure.unit)
                yield "", f"{figure.what:<36}{number_words(figure.forecast, figure.unit):>18}{fact:>18}", ""
        case w.CurvesWritten():
            yield "written", f"{event.path}: {event.reports} points of each curve", ""


def members_words(event: w.MembersListed) -> str:
    """Role, slot and attempt of each."""
    if not event.members:
        return "none was admitted yet"
    return ", ".join(
        f"{one.role} {one.slot}" + ("" if one.attempt == 1 else f" (attempt {one.attempt})") for one in event.members
    )


def loss_words(report: JobReport) -> str:
    """Of the newest round, and of the newest pass over the data."""
    newest = "loss -" if report.loss is None else f"loss {report.loss:.4f}"
    if not report.epochs:
        return newest
    mean = "-" if report.epoch_loss is None else f"{report.epoch_loss:.4f}"
    return f"{newest}, epoch {report.epochs}: {mean}"


def heard_words(report: JobReport) -> str:
    """How many members are heard, and whether they are enough."""
    heard = f"{report.members_live} members heard"
    if report.members_live >= report.members_needed:
        return heard
    return f"{heard}, {report.members_needed} needed: no round counts before"


def int8_words(told: Int8Told) -> str:
    """Whether the model is answered in int8, and what it was judged by."""
    if told.float32_percent is None or told.int8_percent is None:
        return f"not kept: {NOT_JUDGED[told.finding]}; answers are in float32"
    judged = f"top-1 {told.int8_percent:.2f} % of {told.float32_percent:.2f} % on {told.rows:,} rows held out"
    return f"kept: {judged}" if told.kept else f"not kept: {judged}; answers are in float32"


def rate_words(event: w.RateMeasured) -> str:
    """Throughput since the report before."""
    frames = f"{event.frames_per_second:,.1f} frames a second, {event.real_share:.0%} of them real"
    return f"{event.rows_per_second:,.0f} rows a second; {frames}"


def number_words(value: float, unit: str) -> str:
    """Whole where it is whole, else with one place."""
    words = f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{words} {unit}" if unit else words


def clock_words(event: w.JobProgressed) -> str:
    """The order's clock."""
    return f"{event.ticks:,} of {event.total_ticks:,} ticks, {event.seconds:.0f} of {event.total_seconds:.0f} s"
