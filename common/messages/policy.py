"""The terms of owners, providers and grants; each is signed by its party and judged inside the broker (side: library).

A policy travels sealed to the broker: the host sees its digest and who signed it.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.crypto.wrapping import WRAPPING_PUBLIC_BYTES
from common.identifiers import Digest, JobId, ModelId, PartyKey
from common.messages.base import Count, Message, Seconds
from common.messages.tcb_terms import TcbTerms

TrustLevelName = Literal["simulation", "tpm-ima", "sgx", "tdx", "sev-snp"]
PublicKey = Annotated[bytes, Field(min_length=WRAPPING_PUBLIC_BYTES, max_length=WRAPPING_PUBLIC_BYTES)]


class DataPolicy(Message):
    """An owner's terms over one data set. Version 1 is bound to the data key's wrapping; later versions chain to it.

    Empty `bundles` means any bundle of the named providers. Refusal is the default: an empty `providers` allows nobody.
    A release that `releases` no longer names takes no new order; one in `revoked_releases` ends running jobs, too.
    """

    type: Literal["data-policy"] = "data-policy"
    version: Literal[1] = 1
    policy_version: Annotated[int, Field(ge=1)] = 1
    previous: Digest | None = None
    owner: PartyKey
    report_key: PublicKey
    unsafe_simulation: bool = False
    providers: Annotated[tuple[PartyKey, ...], Field(max_length=256)]
    bundles: Annotated[tuple[Digest, ...], Field(max_length=1024)] = ()
    releases: Annotated[tuple[Digest, ...], Field(max_length=256)]
    revoked_releases: Annotated[tuple[Digest, ...], Field(max_length=256)] = ()
    minimal_trust_level: TrustLevelName
    tcb: TcbTerms = TcbTerms()
    sandboxes: Annotated[tuple[Literal["native", "wasm"], ...], Field(max_length=2)]
    purposes: Annotated[tuple[Literal["training", "refining"], ...], Field(max_length=2)] = ("training",)
    not_after: Seconds
    max_jobs: Count
    max_attempts: Annotated[int, Field(ge=1, le=64)] = 8
    min_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    max_trainers: Annotated[int, Field(ge=1, le=1024)] = 8
    answers_total: Count
    grants_to_provider: bool = False


class BundleTerms(Message):
    """A provider's terms over one bundle. Empty `owners` means any owner; empty `users` any user."""

    type: Literal["bundle-terms"] = "bundle-terms"
    version: Literal[1] = 1
    provider: PartyKey
    report_key: PublicKey
    unsafe_simulation: bool = False
    owners: Annotated[tuple[PartyKey, ...], Field(max_length=1024)] = ()
    users: Annotated[tuple[PartyKey, ...], Field(max_length=1024)] = ()
    releases: Annotated[tuple[Digest, ...], Field(max_length=256)]
    minimal_trust_level: TrustLevelName
    tcb: TcbTerms = TcbTerms()
    not_after: Seconds
    answers_total: Count


class QueryGrant(Message):
    """An owner lets one user ask one model. Signed by every owner of the model's data; budgeted by the broker."""

    type: Literal["query-grant"] = "query-grant"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    user: PartyKey
    model_id: ModelId
    manifest: Digest
    broker: PartyKey
    release: Digest
    answers: Annotated[int, Field(ge=1, le=1 << 40)]
    detail: Literal["label", "scores"] = "scores"
    not_after: Seconds


class Revocation(Message):
    """A party ends something of its own: a data set (its key is destroyed), a bundle, a grant, a job."""

    type: Literal["revocation"] = "revocation"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    party: PartyKey
    target: Literal["dataset", "bundle", "grant", "job"]
    identifier: Annotated[str, Field(pattern=r"^(data|bundle|grant|job)_[0-9a-f]{32}$")]
    broker: PartyKey
    created: Seconds


JobOutcome = Literal["finished", "finished_short", "failed", "cancelled"]
"""For the owner alone: every ordered round was done, some were, none was. The host is told `finished` of all three."""


class JobReport(Message):
    """What the owner reads of a job, sealed to the owner's report key at a fixed size (never the host's to read)."""

    type: Literal["job-report"] = "job-report"
    version: Literal[1] = 1
    job_id: JobId
    sequence: Count
    tick: Count
    total_ticks: Count
    round: Count
    loss: float | None
    members_live: Count
    real_frames: Count
    dummy_frames: Count
    refused_frames: Count
    outcome: JobOutcome | None = None
    codes: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    rounds_delivered: Annotated[tuple[Count, ...], Field(max_length=16)] = ()
