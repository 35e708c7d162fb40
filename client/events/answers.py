"""Events of models that are asked (side: owner)."""

from typing import Literal

from client.events.base import Event
from common.identifiers import CodeMeasurement, Digest, GrantId, ModelId, PartyKey
from common.messages.base import Count, Seconds
from common.messages.serving import ServingName


class GrantSigned(Event):
    """A user may ask one model, or what a name stands for."""

    type: Literal["grant-signed"] = "grant-signed"
    grant_id: GrantId
    user: PartyKey
    model_id: ModelId | None
    name: ServingName | None
    answers: Count
    path: str


class ServingSigned(Event):
    """What an owner's name stands for: which model is current, which one goes on answering who asked it, which is tried
    by `canary_permille` of a thousand sessions.
    """

    type: Literal["serving-signed"] = "serving-signed"
    name: ServingName
    number: Count
    current: ModelId
    previous: ModelId | None
    canary: ModelId | None
    canary_permille: Count


class AnswersAdvanced(Event):
    """Answers to so many of the rows have come."""

    type: Literal["answers-advanced"] = "answers-advanced"
    rows: Count
    of: Count


class Answered(Event):
    """Answers to sealed queries, opened on this machine: one label per row.

    Stamped with the query enclave's trust level; `witnessed`: budgets and revocations outlive the broker's restarts.
    `answered_by`: the provider's code, or trusted code that computes the model's graph. `models`: whose answers they
    are, several where a name changed what it stands for.
    """

    type: Literal["answered"] = "answered"
    rows: Count
    labels: tuple[int, ...]
    answers_left: Count
    queries: Count
    answered_by: Literal["code", "graph"]
    models: tuple[ModelId, ...]
    sent_bytes: Count
    received_bytes: Count
    trust_level: str
    witnessed: bool


class ReceiptKept(Event):
    """Receipts of a call's answers are in a file that can be shown; what opens them lies beside it."""

    type: Literal["receipt-kept"] = "receipt-kept"
    path: str
    receipts: Count


class ReceiptVerified(Event):
    """One receipt stands. `asked` (type and shape of the rows) and `labels` where query or answer were shown."""

    type: Literal["receipt-verified"] = "receipt-verified"
    model_id: ModelId
    manifest: Digest
    user: PartyKey
    grant: GrantId
    answers_left: Count
    time: Seconds
    measurement: CodeMeasurement
    trust_level: str
    asked: str | None = None
    labels: tuple[int, ...] | None = None
