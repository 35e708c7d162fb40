"""A watched job is one table on a terminal, and lines elsewhere: a tenth of the clock at a time."""

import io

from rich.console import Console

from client import events as e
from client.rendering import Terminal, live_view
from client.rendering.live import LiveJob
from client.watching.events import ForecastHeld, Held, JobProgressed, MemberListed, MembersListed, RateMeasured
from common.identifiers import JobId, MrEnclave
from common.messages.signed import sign
from tests.unit.client.watching.desk import report
from tests.vectors.sample_documents import KEY, ORDER

JOB = JobId("job_" + "1" * 32)
SIGNED = sign(ORDER, KEY)


def clock(ticks: int, state: str = "running") -> JobProgressed:
    return JobProgressed.model_validate({
        "job_id": JOB, "state": state, "trainers": 2, "ticks": ticks, "total_ticks": 100, "seconds": ticks / 10,
        "total_seconds": 10.0, "trust_level": "simulation",
    })  # fmt: skip


MEMBERS = MembersListed(
    job_id=JOB, members=(MemberListed(role="trainer", slot=1, attempt=2, mr_enclave=MrEnclave("a" * 64)),)
)
RATE = RateMeasured(
    job_id=JOB, tick=10, round=1, loss=0.5, rows_per_second=1234.0, frames_per_second=30.0, real_share=0.25
)
HELD = ForecastHeld(
    job_id=JOB,
    figures=(
        Held(what="rounds", unit="", forecast=20.0, fact=19.0),
        Held(what="time", unit="s", forecast=10.0, fact=None),
    ),
)


def shown(*events: e.Event, terminal: bool) -> str:
    sink = io.StringIO()
    show = live_view(Terminal(Console(file=sink, width=160, force_terminal=terminal, highlight=False)), JOB)
    assert isinstance(show, LiveJob) == terminal
    for event in events:
        show.show(event)
    show.close()
    return sink.getvalue()


def test_lines_come_once_a_tenth_of_the_clock() -> None:
    text = shown(*(clock(tick) for tick in range(0, 101, 2)), terminal=False)
    assert len([line for line in text.splitlines() if "clock" in line]) == 11


def test_a_table_holds_the_newest_of_everything() -> None:
    told = e.ReportOpened(report=report(SIGNED, 1, codes=("provider.raised",)))
    text = shown(clock(5), MEMBERS, RATE, told, clock(50), HELD, terminal=True)
    for words in (
        "50 of 100 ticks",
        "trainer 1 (attempt 2)",
        "1,234 rows",
        "loss 0.5",
        "provider.raised",
        "SIMULATION",
    ):
        assert words in text, words


def test_forecast_and_fact_are_read_side_by_side() -> None:
    rounds, seconds = shown(HELD, terminal=False).splitlines()[1:]
    assert rounds.split() == ["rounds", "20", "19"]
    assert seconds.split() == ["time", "10", "s", "-"]


def test_a_job_without_members_says_so() -> None:
    assert "none was admitted" in shown(MEMBERS.model_copy(update={"members": ()}), terminal=False)
