"""Events of models that are asked as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from client import events as e
from client.rendering.words import Line, trust_line

LABELS_SHOWN: Final = 30

AnswerTold = e.GrantSigned | e.ServingSigned | e.Answered | e.ReceiptKept | e.ReceiptVerified


def answer_lines(event: AnswerTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.GrantSigned():
            yield (
                "grant",
                f"{event.grant_id}: {event.user[:16]}... may ask {event.name or event.model_id} {event.answers} times",
                "",
            )
            yield "", f"in {event.path}; hand it to that user", ""
        case e.ServingSigned():
            yield from _serving_lines(event)
        case e.Answered():
            yield (
                "answers",
                f"{event.rows} rows in {event.queries} sealed queries, {event.answers_left} answers left",
                "",
            )
            by_graph = event.answered_by == "graph"
            yield "by", "trusted code, as the model's graph" if by_graph else "the provider's code, confined", ""
            yield from (("", one, "dim") for one in event.models)
            yield "labels", _labels(event.labels), ""
            yield trust_line(event.trust_level)
            if not event.witnessed:
                yield "warning", "no witness: budgets and revocations hold only until the broker restarts", "red"
        case e.ReceiptKept():
            yield "receipt", f"{event.receipts} in {event.path}, which can be shown to anybody", ""
            yield "", f"{event.path}.query and .answer open query and answer: who has them reads them", ""
        case e.ReceiptVerified():
            at = datetime.fromtimestamp(event.time, UTC)
            yield "receipt", f"{event.model_id} (manifest {event.manifest[:16]}...) answered {event.user}", "green"
            yield "", f"not before {at:%Y-%m-%d %H:%M:%S} UTC; {event.answers_left} answers of {event.grant} left", ""
            yield "", f"signed in the query enclave {event.measurement[:16]}...", ""
            if event.asked is not None:
                yield "query", f"as it was shown: {event.asked}", "green"
            if event.labels is not None:
                yield "answer", f"as it was shown: labels {_labels(event.labels)}", "green"
            yield trust_line(event.trust_level)


def _serving_lines(event: e.ServingSigned) -> Iterator[Line]:
    yield "name", f"{event.name}, record {event.number}: {event.current}", "bold"
    if event.canary is not None:
        yield "", f"{event.canary_permille / 1000:.1%} of sessions try {event.canary}", ""
    if event.previous is not None:
        yield "", f"before: {event.previous}, which still answers who asked it", "dim"


def _labels(labels: tuple[int, ...]) -> str:
    return " ".join(map(str, labels[:LABELS_SHOWN])) + (" ..." if len(labels) > LABELS_SHOWN else "")
