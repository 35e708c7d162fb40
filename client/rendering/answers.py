"""Events of models that are asked as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator
from typing import Final

from client import events as e
from client.rendering.words import Line, trust_line

LABELS_SHOWN: Final = 30

AnswerTold = e.GrantSigned | e.Answered


def answer_lines(event: AnswerTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.GrantSigned():
            yield "grant", f"{event.grant_id}: {event.user[:16]}... may ask {event.model_id} {event.answers} times", ""
            yield "", f"in {event.path}; hand it to that user", ""
        case e.Answered():
            yield (
                "answers",
                f"{event.rows} rows in {event.queries} sealed queries, {event.answers_left} answers left",
                "",
            )
            by_graph = event.answered_by == "graph"
            yield "by", "trusted code, as the model's graph" if by_graph else "the provider's code, confined", ""
            more = " ..." if event.rows > LABELS_SHOWN else ""
            yield "labels", " ".join(map(str, event.labels[:LABELS_SHOWN])) + more, ""
            yield trust_line(event.trust_level)
            if not event.witnessed:
                yield "warning", "no witness: budgets and revocations hold only until the broker restarts", "red"
