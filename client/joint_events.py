"""Events of what several owners sign together: an order, a grant (side: owner)."""

from typing import Literal

from client.events import Event
from common.identifiers import BundleId, DatasetId, Digest, GrantId, JobId, ModelId, PartyKey
from common.messages.base import Count


class JointPart(Event):
    """What one owner brings to a joint order: data sets, and the trainers' slots that work on them.

    No model is made unless one of these has part in `minimal_rounds`.
    """

    type: Literal["joint-part"] = "joint-part"
    owner: PartyKey
    datasets: tuple[DatasetId, ...]
    slots: tuple[Count, ...]
    minimal_rounds: Count


class JointOrder(Event):
    """What a joint order says, before it is signed. A round counts with the deltas of `minimal_trainers` at least."""

    type: Literal["joint-order"] = "joint-order"
    job_id: JobId
    bundle_id: BundleId
    provider: PartyKey
    minimal_trainers: Count
    parts: tuple[JointPart, ...]


class JointName(Event):
    """What a name shall stand for, before its record is signed: who is current, previous, and tried by a share."""

    type: Literal["joint-name"] = "joint-name"
    owner: PartyKey
    name: str
    number: Count
    current: ModelId
    previous: ModelId | None
    canary: ModelId | None
    canary_permille: Count


class JointGrant(Event):
    """What a grant of a joint model says, before it is signed. `name`: if it is for what that stands for, now this."""

    type: Literal["joint-grant"] = "joint-grant"
    grant_id: GrantId
    user: PartyKey
    model_id: ModelId
    name: str | None
    answers: Count
    detail: str
    tells: str
    not_after: Count


class JointlySigned(Event):
    """One more owner has signed; `missing` have not."""

    type: Literal["jointly-signed"] = "jointly-signed"
    digest: Digest
    signers: tuple[PartyKey, ...]
    missing: tuple[PartyKey, ...]
    path: str
