"""How a launch gets its keys, and keeps them: challenge, fresh evidence, admission or lease (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import ChallengeId, Digest, JobId, RoleName
from common.messages.base import Count, Message, Nonce, Seconds
from common.messages.evidence import Evidence
from common.messages.launch_binding import LaunchBinding
from common.messages.signed import Signed


class IssueChallenge(Message):
    """Answer: Challenge. Asked by a launch for (job, role, slot), or for a model's query enclave (slot 0).

    `renews` is the attempt of a live launch that will renew its lease; null: of one that will be admitted.
    """

    type: Literal["issue-challenge"] = "issue-challenge"
    role: RoleName
    job_id: JobId
    slot: Count
    renews: Count | None = None


class Challenge(Message):
    """A nonce for one launch, single-use, of this broker instance; `attempt` is what this launch would be."""

    type: Literal["challenge"] = "challenge"
    challenge_id: ChallengeId
    nonce: Nonce
    broker: Digest
    subject: Digest
    attempt: Count
    not_after: Seconds


class Admit(Message):
    """Answer: Admission. Spends the challenge, whatever the outcome."""

    type: Literal["admit"] = "admit"
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence


class Admission(Message):
    """Keys and terms for one launch: `keys` is a key ring, `terms` a LaunchTerms, both wrapped with info =
    `key_grant_info(report_data)`. Trainer: {job, seed, bundle, data/<dataset id>...}; paramserver: {job, seed, bundle,
    model}; query: {bundle, model}. `placement` is the Signed Placement of a query enclave.
    """

    type: Literal["admission"] = "admission"
    keys: Annotated[bytes, Field(max_length=65536)]
    terms: Annotated[bytes, Field(max_length=1 << 19)]
    placement: Signed | None = None


class RenewLease(Message):
    """Answer: Leased. A live launch shows a fresh quote over its keys. Spends the challenge, whatever the outcome."""

    type: Literal["renew-lease"] = "renew-lease"
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence


class Leased(Message):
    """The launch may use its keys for so long, counted from before it asked."""

    type: Literal["leased"] = "leased"
    seconds: Count
