"""An entry of the decision log in words, and why it was refused (side: owner)."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from common.messages.decision_log import LogEntry, LogSubjects
from common.messages.reasons import RefusalReason
from common.refusals import REFUSALS

_SHOWN = 16
"""Digits of a digest or key: enough to tell it from others. `--json` has all of them."""


def entry_summary(entry: LogEntry) -> str:
    """When, what, how it ended, and about which things."""
    outcome = entry.outcome if entry.code is None else f"{entry.outcome} {entry.code}"
    together = [] if entry.further is None else [f"{entry.further.count:,} more, told together"]
    return "  ".join([_time(entry.time), entry.decision, outcome, *together, *_things(entry.subjects)])


def entry_details(entry: LogEntry) -> Iterator[str]:
    """For whom, under which terms, on what evidence; who can mend a refusal."""
    subjects = entry.subjects
    if entry.further is not None:
        yield f"the first at {_time(entry.further.first)}, the last at {_time(entry.further.last)}"
    yield from _named("asked for by", subjects.signers)
    yield from _named("document", [subjects.document] if subjects.document else [])
    terms = [*subjects.policies, *([subjects.terms] if subjects.terms else [])]
    yield from _named("under the terms", terms)
    for name, value in (
        ("launch", subjects.launch),
        ("evidence (SHA-256 of the quote)", subjects.evidence),
        ("measurement", subjects.measurement),
        ("successor", subjects.heir),
        ("release", subjects.release),
        ("came from broker", subjects.predecessor),
        ("signed by token key", subjects.token_key),
    ):
        yield from _named(name, [value] if value else [])
    yield from _mended(entry.code)


def reason_summary(reason: RefusalReason) -> str:
    """When, what was refused with which public code, and about which things."""
    named = LogSubjects(job=reason.job, grant=reason.grant, role=reason.role, slot=reason.slot, attempt=reason.attempt)
    return "  ".join([_time(reason.time), reason.decision, f"refused {reason.code}", *_things(named)])


def reason_details(reason: RefusalReason) -> Iterator[str]:
    """What the reader's own terms expected and what was seen instead, if they refused."""
    detail = reason.detail
    if (detail.code, detail.expected, detail.seen) == (None, None, None):
        yield "your terms refuse nothing: another party's do"
        return
    if detail.code is not None:
        yield f"your terms: {detail.code}"
    yield from (f"{name}: {text}" for name, text in (("expected", detail.expected), ("seen", detail.seen)) if text)
    yield from _mended(detail.code or reason.code)


def _mended(code: str | None) -> Iterator[str]:
    if code in REFUSALS:
        mender, mend = REFUSALS[code]
        yield f"{mender} can mend it: {mend}"


def _time(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _things(subjects: LogSubjects) -> Iterator[str]:
    yield from subjects.datasets
    yield from (name for name in (subjects.bundle, subjects.job, subjects.grant) if name is not None)
    if subjects.role is not None:
        slot = "" if subjects.slot is None else f" {subjects.slot}"
        yield f"{subjects.role}{slot}" + ("" if subjects.attempt is None else f", attempt {subjects.attempt}")
    if subjects.answers is not None:
        yield f"{subjects.answers} answers"
    if subjects.job_outcome is not None:
        yield subjects.job_outcome


def _named(name: str, values: Sequence[str]) -> Iterator[str]:
    if values:
        yield f"{name}: {', '.join(f'{value[:_SHOWN]}...' for value in values)}"
