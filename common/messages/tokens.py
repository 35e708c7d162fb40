"""Attestation results as tokens, and the key that signs them (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import ChallengeId, Digest, JobId, PartyKey
from common.messages.base import Count, Message
from common.messages.evidence import Evidence
from common.messages.launch_binding import LaunchBinding
from common.messages.signed import Signed


class IssueToken(Message):
    """Answer: AttestationToken, over the request's nonce. `launch` is the signing key of a launch of the job."""

    type: Literal["issue-token"] = "issue-token"
    job_id: JobId
    launch: PartyKey


class AppraiseEvidence(Message):
    """Answer: AttestationToken, over the request's nonce. Like Admit, but nobody is admitted and no key leaves."""

    type: Literal["appraise-evidence"] = "appraise-evidence"
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence


class AttestationToken(Message):
    """An attestation result: a JWT in the EAR form (docs/attestation.md)."""

    type: Literal["attestation-token"] = "attestation-token"
    token: Annotated[str, Field(max_length=8192)]


class ShowTokenKey(Message):
    """Answer: TokenKeyShown."""

    type: Literal["show-token-key"] = "show-token-key"


class TokenKey(Message):
    """Which key signs tokens in this epoch of the broker. Signed by the broker's signing key."""

    type: Literal["token-key"] = "token-key"
    version: Literal[1] = 1
    broker: Digest
    epoch: Count
    key: PartyKey


class TokenKeyShown(Message):
    """The Signed TokenKey."""

    type: Literal["token-key-shown"] = "token-key-shown"
    document: Signed
