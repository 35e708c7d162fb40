"""The YAML form of a policy, section by section: it reads like a sentence (side: owner).

    allow WHOM, for which PURPOSE, of which COLUMNS, WHERE, UNTIL when, AT MOST how much, ANSWERING whom, CHANGING how,
    RECOVERY by whom

Fields are those of common/messages/policy under shorter names; docs/policy.md explains each. A field that nothing
enforces does not exist. What is left out takes its default, and the defaults allow nobody anything.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from client.policy_terms import PolicyTerms, ProviderTerms, RecoveryWishes
from client.tcb_document import Day, Tcb
from common.bundle import ColumnName
from common.crypto.secret_sharing import MAX_SHARES
from common.identifiers import CodeMeasurement, Digest, PartyKey
from common.messages.answer_bounds import MOST_DECIMALS, MOST_TOP, AnswerBounds
from common.messages.base import Count, Message
from common.messages.policy import MAX_APPROVERS, AnswerDetail, RefusalReport, TrustLevelName, require_no_debug
from common.messages.recovery_terms import require_sound_holders
from common.messages.sandbox_bounds import LEAST_MEMORY_BYTES, LEAST_THREADS, SandboxBounds

Sandboxes = Annotated[tuple[Literal["native", "wasm"], ...], Field(min_length=1, max_length=2)]
Purposes = Annotated[tuple[Literal["training", "refining"], ...], Field(min_length=1, max_length=2)]
Few = Field(max_length=256)
Many = Field(max_length=1024)
StateValues = Annotated[int, Field(ge=1, le=1 << 32)]


class Where(Message):
    """On what machines, and by which code of Cloister's."""

    trust_level: TrustLevelName | None = None
    releases: Annotated[tuple[Digest, ...], Few] = ()
    measurements: Annotated[tuple[CodeMeasurement, ...], Few] = ()
    tcb: Tcb = Tcb()

    @model_validator(mode="after")
    def _debug_is_simulation(self) -> Self:
        require_no_debug(self.tcb, self.trust_level)
        return self


class Limits(Message):
    """What provider code may use up, at most: tighter than the sandbox's own limits, or it changes nothing."""

    memory_mib: Annotated[int, Field(ge=LEAST_MEMORY_BYTES >> 20, le=1 << 24)] | None = None
    scratch_mib: Annotated[int, Field(ge=1, le=1 << 24)] | None = None
    threads: Annotated[int, Field(ge=LEAST_THREADS, le=1 << 16)] | None = None
    cpu_seconds: Annotated[int, Field(ge=60, le=1 << 32)] | None = None

    @property
    def bounds(self) -> SandboxBounds:
        """The same in bytes."""
        return SandboxBounds(
            memory_bytes=None if self.memory_mib is None else self.memory_mib << 20,
            file_bytes=None if self.scratch_mib is None else self.scratch_mib << 20,
            threads=self.threads,
            cpu_seconds=self.cpu_seconds,
        )


class TrainingWhere(Where):
    """A data set's conditions also say how provider code is confined, and on how many trainers it runs."""

    revoked_releases: Annotated[tuple[Digest, ...], Few] = ()
    sandboxes: Sandboxes = ("native",)
    limits: Limits = Limits()
    min_trainers: Annotated[int, Field(ge=1, le=1024)] = 1
    max_trainers: Annotated[int, Field(ge=1, le=1024)] = 8

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_trainers > self.max_trainers:
            raise ValueError("min_trainers at most max_trainers")
        return self


class Providers(Message):
    """Whose code."""

    providers: Annotated[tuple[PartyKey, ...], Few] = ()
    bundles: Annotated[tuple[Digest, ...], Many] = ()


class Owners(Message):
    """Whose data."""

    owners: Annotated[tuple[PartyKey, ...], Many] = ()


class AtMost(Message):
    """How much."""

    jobs: Count = 1
    attempts: Annotated[int, Field(ge=1, le=64)] = 8
    state_values: StateValues | None = None
    bits: Count | None = None


class Answering(Message):
    """Who may ask the models, how often, and what an answer tells."""

    users: Annotated[tuple[PartyKey, ...], Many] = ()
    answers: Count = 0
    detail: AnswerDetail = "scores"
    top: Annotated[int, Field(ge=1, le=MOST_TOP)] | None = None
    decimals: Annotated[int, Field(ge=0, le=MOST_DECIMALS)] | None = None
    queries_per_minute: Annotated[int, Field(ge=1, le=60_000)] | None = None

    @property
    def bounds(self) -> AnswerBounds:
        """The last three."""
        return AnswerBounds(top=self.top, decimals=self.decimals, queries_per_minute=self.queries_per_minute)

    @model_validator(mode="after")
    def _of_scores(self) -> Self:
        if self.detail == "label" and (self.top, self.decimals) != (None, None):
            raise ValueError("top and decimals are for detail: scores")
        return self


class OwnersAnswering(Answering):
    """The owner also says whether a model's provider may ask it, and what it is told at a job's end."""

    provider_too: bool = False
    refusal_report: RefusalReport = "none"


class Changing(Message):
    """Who must agree to the next version, beside the party whose terms they are."""

    approvers: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_APPROVERS)] = ()
    approvals: Annotated[int, Field(ge=0, le=MAX_APPROVERS)] = 0

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        if self.approvals > len(set(self.approvers)):
            raise ValueError("at most as many approvals as there are different approvers")
        return self


class Recovery(Message):
    """Who can bring the data key to another broker when this one's machine is gone."""

    holders: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_SHARES)] = ()
    of_operator: Annotated[tuple[PartyKey, ...], Field(max_length=MAX_SHARES)] = ()
    needed: Annotated[int, Field(ge=0, le=MAX_SHARES)] = 0

    @property
    def wishes(self) -> RecoveryWishes | None:
        """None where nothing is said."""
        if not (self.holders or self.of_operator or self.needed):
            return None
        return RecoveryWishes(holders=self.holders, of_operator=self.of_operator, needed=self.needed)

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.wishes is not None:
            require_sound_holders(self.holders, self.of_operator, self.needed)
        return self


class DataPolicyDocument(Message):
    """An owner's policy over one data set."""

    policy: Literal["data"]
    allow: Providers
    purpose: Purposes = ("training",)
    columns: Annotated[tuple[ColumnName, ...], Field(max_length=64)] = ()
    where: TrainingWhere = TrainingWhere()
    until: Day
    at_most: AtMost = AtMost()
    answering: OwnersAnswering = OwnersAnswering()
    changing: Changing = Changing()
    recovery: Recovery = Recovery()

    @model_validator(mode="after")
    def _recovery_is_not_the_operators(self) -> Self:
        """As the policy itself demands (common/messages/policy)."""
        if self.recovery.wishes is not None:
            named = self.recovery
            require_sound_holders(named.holders, named.of_operator, named.needed, self.allow.providers)
        return self

    @property
    def terms(self) -> PolicyTerms:
        """The owner's choices, as the options of `cloister owner policy` state them."""
        return PolicyTerms(
            providers=self.allow.providers,
            bundles=self.allow.bundles,
            purposes=self.purpose,
            columns=self.columns,
            minimal_trust_level=self.where.trust_level,
            releases=self.where.releases,
            revoked_releases=self.where.revoked_releases,
            measurements=self.where.measurements,
            tcb=self.where.tcb.terms,
            sandboxes=self.where.sandboxes,
            sandbox_bounds=self.where.limits.bounds,
            min_trainers=self.where.min_trainers,
            max_trainers=self.where.max_trainers,
            not_after=self.until,
            max_jobs=self.at_most.jobs,
            max_attempts=self.at_most.attempts,
            max_state_class=self.at_most.state_values,
            max_bits=self.at_most.bits,
            users=self.answering.users,
            answers_total=self.answering.answers,
            detail=self.answering.detail,
            answer_bounds=self.answering.bounds,
            grants_to_provider=self.answering.provider_too,
            refusal_report=self.answering.refusal_report,
            approvers=self.changing.approvers,
            approvals_needed=self.changing.approvals,
            recovery=self.recovery.wishes,
        )


class BundleTermsDocument(Message):
    """A provider's terms over one bundle."""

    policy: Literal["bundle"]
    allow: Owners = Owners()
    where: Where = Where()
    until: Day
    answering: Answering
    changing: Changing = Changing()

    @property
    def terms(self) -> ProviderTerms:
        """The provider's choices."""
        return ProviderTerms(
            owners=self.allow.owners,
            minimal_trust_level=self.where.trust_level,
            releases=self.where.releases,
            measurements=self.where.measurements,
            tcb=self.where.tcb.terms,
            not_after=self.until,
            users=self.answering.users,
            answers_total=self.answering.answers,
            detail=self.answering.detail,
            answer_bounds=self.answering.bounds,
            approvers=self.changing.approvers,
            approvals_needed=self.changing.approvals,
        )


DOCUMENTS: Final[dict[str, type[DataPolicyDocument] | type[BundleTermsDocument]]] = {
    "data": DataPolicyDocument,
    "bundle": BundleTermsDocument,
}
"""By the word behind `policy:`."""
