"""Every event has a form for people and one for programs, and simulation is said in words."""

import io
import json

import pytest
from rich.console import Console

from client import events as e
from client.rendering import JsonLines, Terminal, trust_words
from client.watching.following import seen
from common.errors import PolicyError
from common.identifiers import JobId, ModelId, PartyKey
from common.messages.policy import Int8Told, JobReport
from common.messages.service import JobView

JOB = JobId("job_" + "1" * 32)


def all_events() -> tuple[type[e.Event], ...]:
    """Every concrete event."""
    return tuple(e.Event.__subclasses__())


@pytest.mark.parametrize("kind", all_events())
def test_every_event_is_rendered_on_purpose(kind: type[e.Event]) -> None:
    chosen = Terminal.__dict__["show"].dispatcher.dispatch(kind)
    assert chosen is not Terminal.__dict__["show"].dispatcher.dispatch(e.Event), kind


def test_event_types_are_distinct() -> None:
    types = [kind.model_fields["type"].default for kind in all_events()]
    assert len(set(types)) == len(types)


def shown(*events: e.Event, terminal: bool = False) -> str:
    """What a person reads."""
    sink = io.StringIO()
    show = Terminal(Console(file=sink, width=160, force_terminal=terminal, highlight=False))
    for event in events:
        show.show(event)
    show.close()
    return sink.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_and_lines_go_together(*, terminal: bool) -> None:
    report = JobReport(
        job_id=JOB,
        sequence=1,
        tick=5,
        total_ticks=10,
        round=2,
        loss=0.5,
        members_live=2,
        real_frames=3,
        dummy_frames=12,
        refused_frames=0,
    )
    last = report.model_copy(update={"tick": 10, "outcome": "failed", "codes": ("provider.raised",)})
    text = shown(
        e.StageBegan(title="Training"),
        e.JobSeen(job_id=JOB, state="running", trainers=2),
        e.ReportOpened(report=report),
        e.ReportOpened(report=last),
        e.JobSeen(job_id=JOB, state="failed", trainers=2, code="provider.raised"),
        terminal=terminal,
    )
    assert "Training" in text
    assert "provider.raised" in text
    assert "2 members heard" in text
    assert "3 real and 12 dummy frames" in text
    waits = last.model_copy(update={"members_needed": 3})
    assert "2 members heard, 3 needed: no round counts before" in shown(e.ReportOpened(report=waits))


@pytest.mark.parametrize(
    ("code", "command"),
    [
        ("confinement.bubblewrap", "operator can mend it: install bubblewrap: `apt-get install bubblewrap`"),
        ("confinement.user_namespaces", "sysctl user.max_user_namespaces"),
        ("confinement.seccomp", "apt-get install libseccomp2"),
    ],
)
def test_a_job_that_failed_in_public_names_the_command_that_helps(code: str, command: str) -> None:
    view = JobView(
        job_id=JOB, state="failed", code=code, trainers=2, trust_level="simulation", accepted_at=0.0, model_id=None
    )
    text = shown(seen(view))
    assert code in text
    assert command in text


def test_a_job_that_its_owner_cancelled_needs_no_mending() -> None:
    view = JobView(
        job_id=JOB, state="cancelled", code="policy.revoked", trainers=2, trust_level="simulation", accepted_at=0.0,
        model_id=None,
    )  # fmt: skip
    assert "can mend it" not in shown(seen(view))


def test_the_trust_level_is_not_overlooked() -> None:
    sink = io.StringIO()
    Console(file=sink, width=100).print(trust_words("simulation"))
    assert "SIMULATION" in sink.getvalue()
    assert "can read everything" in sink.getvalue()
    unsafe = e.IdentityMade(name="ann", party=PartyKey("a" * 64), directory="d", unsafe_simulation=True)
    assert "UNSAFE" in shown(unsafe)


def test_a_loss_that_nobody_told_is_no_number() -> None:
    report = JobReport(
        job_id=JOB,
        sequence=0,
        tick=0,
        total_ticks=9,
        round=0,
        loss=None,
        members_live=0,
        real_frames=0,
        dummy_frames=0,
        refused_frames=0,
    )
    assert "loss -" in shown(e.ReportOpened(report=report))


def test_programs_get_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show = JsonLines()
    show.show(e.JobSeen(job_id=JOB, state="finished", trainers=2, model_id=ModelId("model_" + "2" * 32)))
    show.refused(PolicyError("policy.jobs", expected="at most 1", seen=1))
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (first["type"], first["model_id"]) == ("job-seen", "model_" + "2" * 32)
    assert (second["code"], second["mender"], second["expected"]) == ("policy.jobs", "owner", "at most 1")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Int8Told(kept=True, finding="judged", rows=1000, float32_percent=81.2, int8_percent=80.9),
         "kept: top-1 80.90 % of 81.20 % on 1,000 rows held out"),
        (Int8Told(kept=False, finding="judged", rows=1000, float32_percent=81.2, int8_percent=70.0),
         "not kept: top-1 70.00 % of 81.20 % on 1,000 rows held out; answers are in float32"),
        (Int8Told(kept=False, finding="no_graph", rows=0, float32_percent=None, int8_percent=None),
         "not kept: the code does not export to a graph; answers are in float32"),
    ],
)  # fmt: skip
def test_the_owner_reads_what_came_of_int8(told: Int8Told, words: str) -> None:
    report = JobReport(
        job_id=JOB, sequence=0, tick=9, total_ticks=9, round=1, loss=0.5, members_live=1, real_frames=0, dummy_frames=0,
        refused_frames=0, outcome="finished", int8=told,
    )  # fmt: skip
    assert words in shown(e.ReportOpened(report=report))
