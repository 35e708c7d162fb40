"""A policy in plain English, and how many bits it lets out (side: owner)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from client.policy_terms import PartyTerms, PolicyTerms, ProviderTerms, RecoveryWishes
from common.leakage import BITS_PER_TICK, AnswerSize, answer_bits, launch_bits, report_bits
from common.messages.answer_bounds import AnswerBounds
from common.messages.policy import AnswerDetail
from common.messages.tcb_terms import Exposure, TcbTerms

MAX_CLASSES: Final = 1 << 32
"""A label is a number of 32 bits (docs/formats.md, section 16)."""

SCORE_BYTES: Final = 4
"""Scores are taken to be float32, one a class."""

_OPEN: Final = {
    Exposure.DEBUG: "read and change all memory (debug)",
    Exposure.SEPT_VE: "take pages away from a trust domain unnoticed (sept-ve)",
    Exposure.PROFILING: "measure a trust domain while it runs (profiling)",
    Exposure.MIGRATION: "have a service domain move it elsewhere (migration)",
}
_IN_OWN_WORDS: Final = {"accepted_statuses", "tolerances", "dangerously_allow", "service_domains"}


@dataclass(frozen=True)
class Assumed:
    """What a policy does not say, and bits depend on: classes of an answer, ticks of a job's schedule."""

    classes: int | None = None
    ticks: int | None = None


@dataclass(frozen=True)
class Bits:
    """Bounds; None where what is assumed does not suffice. `limit` is the policy's own."""

    per_answer: int | None
    answers: int | None
    attempts: int | None
    limit: int | None
    reports: int = 0

    @property
    def most(self) -> int | None:
        """What can leave at most, by all that is known."""
        known = self.answers is not None and self.attempts is not None
        sums = [(self.answers or 0) + (self.attempts or 0) + self.reports] if known else []
        return min([*sums, *([] if self.limit is None else [self.limit])], default=None)


def bits_of(terms: PolicyTerms | ProviderTerms, assumed: Assumed) -> Bits:
    """How many bits these terms let out (common/leakage). Labels have a bound without assumptions, scores have none."""
    classes = assumed.classes or (MAX_CLASSES if terms.detail == "label" else None)
    each = (
        None
        if classes is None
        else answer_bits(AnswerSize(classes, SCORE_BYTES * classes), terms.detail, terms.answer_bounds)
    )
    answers = None if each is None else each * terms.answers_total
    if terms.answers_total == 0:
        answers = 0
    if not isinstance(terms, PolicyTerms):
        return Bits(each, answers, 0, None)
    launches = terms.max_jobs * terms.max_trainers * terms.max_attempts
    attempts = None if assumed.ticks is None and launches else launches * launch_bits(assumed.ticks or 0)
    reports = terms.max_jobs * report_bits(terms.refusal_report)
    return Bits(each, answers, attempts, terms.max_bits, reports)


def sentences(terms: PolicyTerms | ProviderTerms, assumed: Assumed) -> Iterator[str]:
    """What the terms say."""
    yield from _who(terms) if isinstance(terms, PolicyTerms) else _whose(terms)
    yield from _where(terms)
    yield from _answers(terms)
    if isinstance(terms, PolicyTerms):
        yield _told_to_provider(terms)
    yield from _bits(bits_of(terms, assumed), assumed)
    yield _changes(terms)
    if isinstance(terms, PolicyTerms):
        yield _recovery(terms.recovery)


def _who(terms: PolicyTerms) -> Iterator[str]:
    if not terms.providers or not terms.max_jobs:
        yield "Nobody may train on this data."
        return
    bundles = f"the bundles with roots {_list(terms.bundles)}" if terms.bundles else "any of their bundles"
    yield f"Code of {_list(terms.providers)} may be used for {_list(terms.purposes)}, with {bundles}."
    columns = f"only the columns {_list(terms.columns)}" if terms.columns else "every column"
    size = "of any size" if terms.max_state_class is None else f"of at most {terms.max_state_class:,} float32 values"
    yield f"It reads {columns}, and makes models {size}."
    yield (
        f"At most {_count(terms.max_jobs, 'job')}, of {terms.min_trainers} to {_count(terms.max_trainers, 'trainer')}, "
        f"each started at most {_count(terms.max_attempts, 'time')} in a job. Confined by: {_list(terms.sandboxes)}."
    )
    if bounds := terms.sandbox_bounds.model_dump(exclude_none=True):
        yield f"Provider code may use at most {_list(f'{most:,} {name}' for name, most in bounds.items())}."


def _whose(terms: ProviderTerms) -> Iterator[str]:
    yield f"{_list(terms.owners) if terms.owners else 'Any owner'} may train with this bundle."


def _where(terms: PartyTerms) -> Iterator[str]:
    named = terms.minimal_trust_level
    level = f"{named} or stronger" if named else "a hardware TEE; any, for an identity made with --unsafe-simulation"
    release = f"releases {_list(terms.releases)}" if terms.releases else "the release that is pinned when it is signed"
    yield f"Machines: {level}. Code: {release}."
    if isinstance(terms, PolicyTerms) and terms.revoked_releases:
        yield f"Nothing goes on under the releases {_list(terms.revoked_releases)}: running jobs and models stop."
    if terms.measurements:
        yield f"Of its enclaves only those that measure {_list(terms.measurements)}."
    yield from _tcb(terms.tcb)
    end = "as many days as `--days` says" if terms.not_after is None else f"until {day_words(terms.not_after)}"
    yield f"All this holds {end}."


def _tcb(tcb: TcbTerms) -> Iterator[str]:
    yield f"Platforms whose TCB Intel calls {_list(tcb.accepted_statuses)}."
    for one in tcb.tolerances:
        limits = (("until", one.until), ("with a TCB from", one.min_tcb_date))
        words = " and ".join(f"{word} {day_words(at)}" for word, at in limits if at is not None)
        yield f"{one.status} is tolerated {words}."
    if tcb.dangerously_allow:
        yield f"DANGEROUS: whoever runs the host may {_list(_OPEN[one] for one in tcb.dangerously_allow)}."
    if tcb.service_domains:
        yield f"Trust domains may be bound to the service domains {_list(tcb.service_domains)}."
    for name in sorted(type(tcb).model_fields.keys() - _IN_OWN_WORDS):
        if getattr(tcb, name) != type(tcb).model_fields[name].default:
            value = getattr(tcb, name)
            yield f"Platforms: {name} {_list(value) if isinstance(value, tuple) else str(value).lower()}."


def _answers(terms: PolicyTerms | ProviderTerms) -> Iterator[str]:
    if not terms.answers_total:
        yield "Nobody may ask a model that comes of it."
        return
    users = _list(terms.users) if terms.users else "Whoever every owner of the data grants it to"
    tells = answer_words(terms.detail, terms.answer_bounds)
    over = f"over all models of this {'data' if isinstance(terms, PolicyTerms) else 'bundle'}"
    yield f"{users} may ask: at most {terms.answers_total:,} answers {over}, each tells {tells}."
    if isinstance(terms, PolicyTerms):
        yield f"A model's own provider may {'ask too' if terms.grants_to_provider else 'not ask it'}."


def answer_words(detail: AnswerDetail, bounds: AnswerBounds) -> str:
    """What an answer tells, and how often one may ask."""
    words = "all scores" if bounds.top is None else f"the label and the {bounds.top} largest scores"
    if bounds.decimals is not None:
        words += f", as confidences rounded to {bounds.decimals} decimals"
    if detail == "label":
        words = "the label alone"
    most = bounds.queries_per_minute
    return words if most is None else f"{words}; at most {most:,} queries a minute of one user"


def _told_to_provider(terms: PolicyTerms) -> str:
    if terms.refusal_report == "none":
        return "Of a job's end its provider is told what everybody sees."
    return (
        "At a job's end its provider is told whether the rounds were done, and which classes of calls its code was "
        "refused, if all owners of the job's data allow it."
    )


def _bits(bits: Bits, assumed: Assumed) -> Iterator[str]:
    if bits.answers is None:
        yield "How much answers can carry depends on the number of classes: say --classes."
    elif bits.per_answer is not None:
        most = "" if assumed.classes else " at most, however many classes there are: say --classes"
        yield f"Answers can carry {bits.answers:,} bits, {bits.per_answer} each{most}."
    if bits.attempts is None:
        yield "What attempts are charged depends on the schedule: say --ticks."
    elif bits.attempts:
        how = f"{BITS_PER_TICK} a tick of the schedule and its end"
        yield f"Attempts are charged {bits.attempts:,} bits at most, {how}."
    if bits.reports:
        yield f"Reports to providers are charged {bits.reports:,} bits at most, {report_bits('classes')} a job."
    limit = "no limit of its own" if bits.limit is None else f"at most {bits.limit:,}"
    yield f"In bits the policy sets {limit}."
    if bits.most is not None:
        yield f"Counted so, at most {bits.most:,} bits leave."


def _changes(terms: PolicyTerms | ProviderTerms) -> str:
    whose, them = ("Its owner", "it") if isinstance(terms, PolicyTerms) else ("The bundle's provider", "them")
    if not terms.approvals_needed:
        return f"{whose} alone may change {them}."
    least = f"{terms.approvals_needed} of {_list(terms.approvers)}"
    return f"To change {them} takes {whose[0].lower()}{whose[1:]} and {least}."


def _recovery(wishes: RecoveryWishes | None) -> str:
    if wishes is None:
        return "When the key broker's machine is gone, nobody brings the data key back: upload anew."
    whose = f"; {_list(wishes.of_operator)} are the operator's" if wishes.of_operator else ""
    return (
        f"When the key broker's machine is gone, {wishes.needed} of {_list(wishes.holders)}{whose}, "
        "can bring the data key to another attested broker."
    )


def _list(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))


def _count(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def day_words(at: int) -> str:
    """A time in words."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
