"""A job at the broker: its order accepted, its members, its end (side: library)."""

from typing import Literal

from common.identifiers import CodeMeasurement, JobId, ModelId, PartyKey, RoleName
from common.messages.base import Count, Message, Signature64
from common.messages.policy import TrustLevelName
from common.messages.signed import Signed


class AcceptOrder(Message):
    """Answer: OrderAccepted. The order is judged under every party's newest terms and then used up."""

    type: Literal["accept-order"] = "accept-order"
    order: Signed
    release: Signed


class OrderAccepted(Message):
    """The order is used up; its job may run until `not_after`. Accepting it again gives the same answer."""

    type: Literal["order-accepted"] = "order-accepted"
    job_id: JobId
    trainers: Count
    trust_level: TrustLevelName


class ListMembers(Message):
    """Answer: Members. Asked by anybody; the answer is signed and says nothing secret."""

    type: Literal["list-members"] = "list-members"
    job_id: JobId


class AwaitEnd(Message):
    """Answer: Members, as soon as the job runs no more, or after a moment all the same. For parameter servers."""

    type: Literal["await-end"] = "await-end"
    job_id: JobId


class Member(Message):
    """The one live launch of a slot. `mr_enclave` is its measurement: MRENCLAVE, or MRTD of a trust domain."""

    role: RoleName
    slot: Count
    attempt: Count
    signing_public: PartyKey
    mr_enclave: CodeMeasurement


class Members(Message):
    """The live launches of a job, newest attempt of each slot only; a superseded one is fenced from then on.

    `model_revoked`: it has made a model, whose key is destroyed.
    """

    type: Literal["members"] = "members"
    job_id: JobId
    state: Literal["running", "finished", "failed", "cancelled"]
    members: tuple[Member, ...]
    model_revoked: bool = False


class CompleteJob(Message):
    """Answer: Completed. The parameter server's last word: a Signed ModelManifest, or none and the outcome.

    `statement` is the launch key's signature over LAUNCH_STATEMENT, job id, outcome, manifest digest or nothing.
    """

    type: Literal["complete-job"] = "complete-job"
    job_id: JobId
    outcome: Literal["finished", "failed"]
    manifest: Signed | None
    statement: Signature64


class Completed(Message):
    """The job is over and its model, if any, is recorded."""

    type: Literal["completed"] = "completed"
    job_id: JobId
    model_id: ModelId | None
