"""Events of models that are asked (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import GrantId, ModelId, PartyKey
from common.messages.base import Count


class GrantSigned(Event):
    """A user may ask one model."""

    type: Literal["grant-signed"] = "grant-signed"
    grant_id: GrantId
    user: PartyKey
    model_id: ModelId
    answers: Count
    path: str


class Answered(Event):
    """Answers to sealed queries, opened on this machine: one label per row.

    Stamped with the query enclave's trust level; `witnessed`: budgets and revocations outlive the broker's restarts.
    `answered_by`: the provider's code, or trusted code that computes the model's graph.
    """

    type: Literal["answered"] = "answered"
    rows: Count
    labels: tuple[int, ...]
    answers_left: Count
    queries: Count
    answered_by: Literal["code", "graph"]
    sent_bytes: Count
    received_bytes: Count
    trust_level: str
    witnessed: bool
