"""Events of policies as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator

from client import policy_events as p

PolicyTold = p.LedgerRead
Line = tuple[str, str, str]


def policy_lines(event: PolicyTold) -> Iterator[Line]:
    """The lines of one event."""
    yield from _ledger(event)


def _ledger(event: p.LedgerRead) -> Iterator[Line]:
    one, limit = event.ledger, event.ledger.max_bits
    most = "no limit" if limit is None else f"at most {limit:,}"
    yield "bits", f"{event.bits:,} charged to {event.dataset_id}, {most}", "bold"
    yield "attempts", f"{one.attempts:,} of trainers, {one.attempt_bits:,} bits; {one.jobs} of {one.max_jobs} jobs", ""
    yield "answers", f"{one.answers:,} of {one.answers_total:,}, {one.answer_bits:,} bits", ""
