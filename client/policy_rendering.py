"""Events of policies as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator

from client import policy_events as p
from client.log_words import entry_summary

PolicyTold = (
    p.LedgerRead | p.PolicyProblem | p.PolicyChecked | p.PolicyExplained | p.PolicyCompared
    | p.DecisionTried | p.PolicyTried | p.PolicyToApprove
)  # fmt: skip
Line = tuple[str, str, str]


def policy_lines(event: PolicyTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case p.LedgerRead():
            yield from _ledger(event)
        case p.PolicyProblem():
            yield f"{event.line}:{event.column}", f"{event.field or 'the file'}: expected {event.expected}", "red"
            yield "", f"seen: {event.seen}", "dim"
        case p.PolicyChecked():
            yield "policy", f"{event.file}: a policy over {'data' if event.kind == 'data' else 'a bundle'}", "green"
            yield from (("hint", hint, "yellow") for hint in event.hints)
        case p.PolicyExplained():
            yield "policy", event.subject, "bold"
            yield from (("", sentence, "") for sentence in event.sentences)
        case p.PolicyCompared():
            yield from _compared(event)
        case p.DecisionTried():
            yield from _tried(event)
        case p.PolicyTried():
            yield from _trial(event)
        case p.PolicyToApprove():
            yield "to approve", f"version {event.policy_version}, {event.digest}: {event.path}", "bold"
            yield from (("signed by", signer, "") for signer in event.signers)


def _ledger(event: p.LedgerRead) -> Iterator[Line]:
    one, limit = event.ledger, event.ledger.max_bits
    most = "no limit" if limit is None else f"at most {limit:,}"
    yield "bits", f"{event.bits:,} charged to {event.dataset_id}, {most}", "bold"
    yield "attempts", f"{one.attempts:,} of trainers, {one.attempt_bits:,} bits; {one.jobs} of {one.max_jobs} jobs", ""
    yield "answers", f"{one.answers:,} of {one.answers_total:,}, {one.answer_bits:,} bits", ""
    yield "reports", f"to providers, {one.report_bits:,} bits", ""


def _compared(event: p.PolicyCompared) -> Iterator[Line]:
    if not (event.becomes_possible or event.stops or event.otherwise):
        yield "same", f"{event.old} and {event.new} say the same", ""
    yield from (("possible", text, "bold red") for text in event.becomes_possible)
    yield from (("stops", text, "green") for text in event.stops)
    yield from (("changes", text, "") for text in event.otherwise)


def _tried(event: p.DecisionTried) -> Iterator[Line]:
    style = {"refused": "green", "allowed": "bold red"}.get(event.verdict, "yellow")
    yield event.verdict, entry_summary(event.entry), style
    for one in event.reasons:
        yield "", f"{one.code}, by {one.field}: expected {one.expected}, seen {one.seen}", "dim"
    if event.after is not None:
        yield "", f"it would not have come to this: entry {event.after} of the log would have been refused", "dim"
    if event.verdict == "unjudged":
        yield "", f"not held: {', '.join(event.missing)}", "dim"


def _trial(event: p.PolicyTried) -> Iterator[Line]:
    differ = event.refused + event.allowed
    yield "tried", f"{event.policy} on {event.subject}: {differ} decisions would differ, {event.same} would not", "bold"
    yield "", f"{event.refused} would be refused; {event.allowed} would not be refused by it any longer", ""
    if event.unjudged:
        yield "unjudged", f"{event.unjudged} decisions, for what is not held here", "yellow"
    yield from (("", f"{name}: {count} decisions", "dim") for name, count in event.missing.items())
