"""The terms of owners, providers and grants; each is signed by its party and judged inside the broker (side: library).

A policy travels sealed to the broker: the host sees its digest and who signed it.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.bundle import ColumnName
from common.crypto.wrapping import WRAPPING_PUBLIC_BYTES
from common.identifiers import BundleId, CodeMeasurement, Digest, JobId, ModelId, PartyKey
from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.base import Count, Message, Seconds
from common.messages.order import ToolchainName
from common.messages.provider_report import ToldToProvider
from common.messages.recovery_terms import RecoveryTerms, require_sound_holders
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.serving import ServedName
from common.messages.tcb_terms import Exposure, TcbTerms

TrustLevelName = Literal["simulation", "tpm-ima", "sgx", "tdx", "sev-snp"]
AnswerDetail = Literal["label", "scores"]
"""What an answer tells of a row: the number of the best class, or the model's whole output. Scores tell more."""

RefusalReport = Literal["none", "classes"]
"""What a job's provider is told at its end: nothing, or how it went and which classes of calls its code was refused."""

MAX_APPROVERS: Final = 15
"""A signed document has at most 16 signatures, and the owner's is one."""

PublicKey = Annotated[bytes, Field(min_length=WRAPPING_PUBLIC_BYTES, max_length=WRAPPING_PUBLIC_BYTES)]


class DataPolicy(Message):
    """An owner's terms over one data set. Version 1 is bound to the data key's wrapping; later versions chain to it.

    Refusal is the default: an empty `providers` allows nobody. Empty `bundles` means any of the named providers',
    empty `measurements` any that an allowed release names, empty `columns` all of them, empty `users` whom all grant.
    `max_state_class` bounds a model by its number of float32 values, `max_bits` what leaves by attempts, answers and
    reports to providers (common/leakage); None: no bound. `refusal_report` counts where all owners say it. The next
    version is signed by the owner and by `approvals_needed` of `approvers`, whatever it says itself. A release that
    `releases` no longer names takes no new order; one that `revoked_releases` names ends running jobs, too. `recovery`
    names who can bring the data key to another broker; None: nobody.
    docs/policy.md says where each field is enforced.
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
    measurements: Annotated[tuple[CodeMeasurement, ...], Field(max_length=256)] = ()
    minimal_trust_level: TrustLevelName
    tcb: TcbTerms = TcbTerms()
    sandboxes: Annotated[tuple[Literal["native", "wasm"], ...], Field(max_length=2)]
    sandbox_bounds: SandboxBounds = SandboxBounds()
    purposes: Annotated[tuple[Literal["training", "refining"], ...], Field(max_length=2)] = ("training",)
    not_after: Seconds
    max_jobs: Count
    max_attempts: Annotated[int, Field(ge=1, le=64)] = 8
    min_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    max_trainers: Annotated[int, Field(ge=1, le=1024)] = 8
    max_state_class: Annotated[int, Field(ge=1, le=1 << 32)] | None = None
    columns: Annotated[tuple[ColumnName, ...], Field(max_length=64)] = ()
    users: Annotated[tuple[PartyKey, ...], Field(max_length=1024)] = ()
    answers_total: Count
    detail: AnswerDetail = "scores"
    answer_bounds: AnswerBounds = NO_ANSWER_BOUNDS
    grants_to_provider: bool = False
    max_bits: Count | None = None
    refusal_report: RefusalReport = "none"
    approvers: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_APPROVERS)] = ()
    approvals_needed: Annotated[int, Field(ge=0, le=MAX_APPROVERS)] = 0
    recovery: RecoveryTerms | None = None

    @property
    def party(self) -> PartyKey:
        """Whose terms they are."""
        return self.owner

    @model_validator(mode="after")
    def _approvals_can_be_had(self) -> Self:
        _require_quorum(self)
        return self

    @model_validator(mode="after")
    def _debug_is_simulation(self) -> Self:
        require_no_debug(self.tcb, self.minimal_trust_level)
        return self

    @model_validator(mode="after")
    def _recovery_is_not_the_operators(self) -> Self:
        """Provider and operator may be one, so allowed providers count with the operator's people."""
        if self.recovery is not None:
            named = self.recovery
            require_sound_holders(named.parties, named.of_operator, named.needed, self.providers)
        return self


class BundleTerms(Message):
    """A provider's terms over one bundle. Empty `owners`, `users`, `measurements`: any that the rest allows.

    Version 1 is bound to the bundle key's wrapping; later versions chain to it, and are signed by the provider and by
    `approvals_needed` of `approvers` of the version before, as a data policy's are.
    """

    type: Literal["bundle-terms"] = "bundle-terms"
    version: Literal[1] = 1
    provider: PartyKey
    report_key: PublicKey
    unsafe_simulation: bool = False
    owners: Annotated[tuple[PartyKey, ...], Field(max_length=1024)] = ()
    users: Annotated[tuple[PartyKey, ...], Field(max_length=1024)] = ()
    releases: Annotated[tuple[Digest, ...], Field(max_length=256)]
    measurements: Annotated[tuple[CodeMeasurement, ...], Field(max_length=256)] = ()
    minimal_trust_level: TrustLevelName
    tcb: TcbTerms = TcbTerms()
    not_after: Seconds
    answers_total: Count
    detail: AnswerDetail = "scores"
    answer_bounds: AnswerBounds = NO_ANSWER_BOUNDS
    policy_version: Annotated[int, Field(ge=1)] = 1
    previous: Digest | None = None
    approvers: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_APPROVERS)] = ()
    approvals_needed: Annotated[int, Field(ge=0, le=MAX_APPROVERS)] = 0

    @property
    def party(self) -> PartyKey:
        """Whose terms they are."""
        return self.provider

    @model_validator(mode="after")
    def _approvals_can_be_had(self) -> Self:
        _require_quorum(self)
        return self

    @model_validator(mode="after")
    def _debug_is_simulation(self) -> Self:
        require_no_debug(self.tcb, self.minimal_trust_level)
        return self


def require_no_debug(tcb: TcbTerms, minimal: TrustLevelName | None) -> None:
    """Raise `ValueError` where terms that demand a TEE name debug: whose memory the host reads is none."""
    if Exposure.DEBUG in tcb.dangerously_allow and minimal != "simulation":
        raise ValueError("dangerously_allow: debug goes with trust level simulation alone")


def _require_quorum(terms: DataPolicy | BundleTerms) -> None:
    """Each approver is counted once, and the party's own signature is demanded anyway."""
    if len(set(terms.approvers)) != len(terms.approvers) or terms.party in terms.approvers:
        raise ValueError("approvers are different parties, and none is the one whose terms they are")
    if terms.approvals_needed > len(terms.approvers):
        raise ValueError("more approvals are needed than there are approvers")


class QueryGrant(Message):
    """An owner lets one user ask one model, or whichever a name stands for. Signed by every owner of the data of each
    model that is asked by it; budgeted by the broker, over all of them.
    """

    type: Literal["query-grant"] = "query-grant"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    user: PartyKey
    model_id: ModelId | None = None
    manifest: Digest | None = None
    served: ServedName | None = None
    broker: PartyKey
    release: Digest
    answers: Annotated[int, Field(ge=1, le=1 << 40)]
    detail: AnswerDetail = "scores"
    answer_bounds: AnswerBounds = NO_ANSWER_BOUNDS
    not_after: Seconds

    @model_validator(mode="after")
    def _names_a_model_or_a_name(self) -> Self:
        named = {self.model_id is None, self.manifest is None, self.served is not None}
        if len(named) != 1:
            raise ValueError("a model and its manifest, or a name")
        return self


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


class BundleRetirement(Message):
    """A provider's word that no new order may name this bundle. It ends nothing that was ordered before."""

    type: Literal["bundle-retirement"] = "bundle-retirement"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    party: PartyKey
    bundle: BundleId
    broker: PartyKey
    created: Seconds


JobOutcome = Literal["finished", "finished_short", "failed", "cancelled"]
"""For the owner alone: every ordered round was done, some were, none was. The host is told `finished` of all three."""


FindingName = Literal[
    "judged", "no_graph", "no_classes", "few_rows", "absent", "unsupported", "mixes", "late", "failed", "disagrees",
    "nothing",
]  # fmt: skip
"""What came of judging int8 (common/sandboxed/quantised_layout.py)."""


class Int8Told(Message):
    """What came of int8, where it was ordered: whether the model is answered in it, and why not.

    Percent of top-1 accuracy on so many `rows` that nothing was trained on, where they were judged.
    """

    kept: bool
    finding: FindingName
    rows: Count
    float32_percent: float | None
    int8_percent: float | None


class JobReport(Message):
    """What the owner reads of a job, sealed to the owner's report key at a fixed size (never the host's to read).

    `told_provider`, in the last one: all that the provider reads and the host does not. `toolchain`: once it is
    resolved. `members_live`: trainers that are heard; where there are fewer than `members_needed`, no round counts.
    `epochs`: passes over the data that are over, `epoch_loss`: mean loss of the rounds in the last of them;
    `read_chunks`: that its trainers have asked for by their newest deltas. Of a job of several owners these three are
    not told. `int8`, in the last one: what came of it.
    """

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
    codes: Annotated[tuple[str, ...], Field(max_length=1024)] = ()
    rounds_delivered: Annotated[tuple[Count, ...], Field(max_length=1024)] = ()
    told_provider: ToldToProvider | None = None
    toolchain: ToolchainName | None = None
    epochs: Count = 0
    epoch_loss: float | None = None
    members_needed: Count = 1
    read_chunks: Count = 0
    int8: Int8Told | None = None
