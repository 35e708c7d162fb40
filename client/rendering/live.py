"""A watched job as one table that changes in place (side: owner); for a terminal, else `Terminal` prints lines."""

from collections.abc import Iterator
from typing import Final

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from client import events as e
from client.rendering.terminal import Terminal
from client.rendering.words import trust_line
from client.watching.events import JobProgressed, MembersListed, RateMeasured
from client.watching.rendering import clock_words, heard_words, loss_words, members_words, rate_words
from common.errors import CloisterError

REFRESHES_PER_SECOND: Final = 4


class LiveJob:
    """What was told last, in one table. All else is printed above it."""

    def __init__(self, terminal: Terminal, job_id: str) -> None:
        self._terminal, self._job_id = terminal, job_id
        self._clock: JobProgressed | None = None
        self._members: MembersListed | None = None
        self._rate: RateMeasured | None = None
        self._report: e.ReportOpened | None = None
        self._live = Live(
            console=terminal.console,
            get_renderable=self.table,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=False,
        )
        self._live.start()

    def show(self, event: e.Event) -> None:
        """Into the table, or above it."""
        match event:
            case JobProgressed():
                self._clock = event
            case MembersListed():
                self._members = event
            case RateMeasured():
                self._rate = event
            case e.ReportOpened() if event.report.outcome is None:
                self._report = event
            case _:
                self._report = event if isinstance(event, e.ReportOpened) else self._report
                self._terminal.show(event)

    def refused(self, error: CloisterError) -> None:
        """As ever, below the last table."""
        self._live.stop()
        self._terminal.refused(error)

    def close(self) -> None:
        """The last table stays."""
        self._live.stop()
        self._terminal.close()

    def table(self) -> Table:
        """All that is known now."""
        table = Table(title=f"{self._job_id}", title_justify="left", show_header=False)
        table.add_column(style="bold")
        table.add_column()
        for name, value in self._rows():
            table.add_row(name, value)
        return table

    def _rows(self) -> Iterator[tuple[str, Text | ProgressBar]]:
        clock = self._clock
        if clock is not None:
            yield "state", Text(f"{clock.state}, {clock.trainers} trainers")
            yield "clock", Text(clock_words(clock))
            yield "", ProgressBar(total=clock.total_ticks, completed=clock.ticks, width=50)
        if self._members is not None:
            yield "members", Text(members_words(self._members))
        if self._report is not None:
            report = self._report.report
            yield "round", Text(f"{report.round}, {loss_words(report)}, {heard_words(report)}")
            yield (
                "frames",
                Text(f"{report.real_frames:,} real, {report.dummy_frames:,} dummy, {report.refused_frames:,} refused"),
            )
            if report.codes:
                yield "codes", Text(", ".join(report.codes), style="yellow")
        if self._rate is not None:
            yield "rate", Text(rate_words(self._rate))
        if clock is not None:
            _, words, style = trust_line(clock.trust_level)
            yield "trust", Text(words, style=style)


def live_view(terminal: Terminal, job_id: str) -> LiveJob | Terminal:
    """A table where there is a terminal to draw it on."""
    return LiveJob(terminal, job_id) if terminal.console.is_terminal else terminal
