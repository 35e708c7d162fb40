"""Which rules the key broker asks of one party's terms at each decision, and what they answer (side: owner).

The rules themselves are those of the broker (common/policy_rules, common/dcap); a test lets a broker decide the same
things under the same terms and compares. A fact that lies between bounds is judged at both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from client.past_facts import Counted, Facts, NotHeldError
from common.dcap import PlatformClaims, require_tcb
from common.dcap.tcb_appraisal import TCB_REFUSALS
from common.errors import PolicyError, Refusal
from common.messages.platform_inventory import NO_INVENTORY
from common.messages.policy import BundleTerms, DataPolicy
from common.policy_rules import (
    OWNER_ORDER_RULES,
    PROVIDER_ORDER_RULES,
    Rule,
    require_attempt_left,
    require_bits_left,
    require_job_left,
    require_level,
    require_measurement,
    require_not_provider,
    require_release_kept,
    require_terms_unexpired,
    require_unexpired,
    require_user,
)

SignedTerms = DataPolicy | BundleTerms


def _require_machine(terms: SignedTerms, machine: PlatformClaims, at: int) -> None:
    require_tcb(machine, terms.tcb, NO_INVENTORY, at)  # a log tells neither machine nor inventory


def _require_answers(terms: SignedTerms, given: int, wanted: int) -> None:
    left = terms.answers_total - given
    if left < wanted:
        raise PolicyError("policy.budget", expected=f"{wanted} answers left", seen=max(0, left))


_LEVEL: Final = Rule("minimal_trust_level", ("policy.trust_level",), ("trust_level",), require_level)
_TERMS_LEVEL: Final = Rule("minimal_trust_level", ("policy.provider_terms",), ("trust_level",), require_level)
_MACHINE: Final = Rule("tcb", TCB_REFUSALS, ("machine", "at"), _require_machine)
_ANSWERS: Final = Rule("answers_total", ("policy.budget",), ("answers_given", "answers_asked"), _require_answers)
_ATTEMPT: Final = Rule("max_attempts", ("policy.attempts",), ("attempt",), require_attempt_left)
_JOBS: Final = Rule("max_jobs", ("policy.jobs",), ("jobs_before",), require_job_left)
_BITS: Final = Rule("max_bits", ("policy.bits",), ("bits_spent", "bits_asked"), require_bits_left)

_VALID: Final = (
    Rule("not_after", ("policy.expired",), ("at",), require_unexpired),
    Rule("revoked_releases", ("policy.release",), ("release",), require_release_kept),
)
_RENEWAL: Final = (
    *_VALID,
    _LEVEL,
    _MACHINE,
    Rule("measurements", ("policy.measurement",), ("measurement",), require_measurement),
)
_DRAW: Final = (
    *_VALID,
    Rule("users", ("policy.user",), ("user", "names"), require_user),
    Rule("grants_to_provider", ("policy.grant",), ("user", "provider", "names"), require_not_provider),
    _ANSWERS,
    _BITS,
)
_TERMS_VALID: Final = Rule("not_after", ("policy.provider_terms",), ("at",), require_terms_unexpired)
_TERMS_ON_LAUNCH: Final = (
    _TERMS_VALID,
    _TERMS_LEVEL,
    _MACHINE,
    Rule("measurements", ("policy.provider_terms",), ("measurement",), require_measurement),
)
_TERMS_ON_DRAW: Final = (
    _TERMS_VALID,
    Rule("users", ("policy.provider_terms",), ("user", "names"), require_user),
    _ANSWERS,
)


_PROVIDER: Final[dict[str, tuple[Rule, ...]]] = {
    "accept-order": PROVIDER_ORDER_RULES,
    "admit-launch": _TERMS_ON_LAUNCH,
    "renew-lease": _TERMS_ON_LAUNCH,
    "draw-budget": _TERMS_ON_DRAW,
}
_OWNER: Final[dict[str, tuple[Rule, ...]]] = {
    "accept-order": (*OWNER_ORDER_RULES, _JOBS, _BITS),
    "admit-launch trainer": (_ATTEMPT, _BITS, *_RENEWAL),
    "admit-launch paramserver": (_ATTEMPT, *_RENEWAL),
    "admit-launch query": _RENEWAL,
    "renew-lease": _RENEWAL,
    "draw-budget": _DRAW,
}


def rules_of(terms: SignedTerms, decision: str, role: str | None) -> tuple[Rule, ...]:
    """The rules of a decision; none where these terms have no say."""
    table = _PROVIDER if isinstance(terms, BundleTerms) else _OWNER
    return table.get(decision) or table.get(f"{decision} {role}", ())


@dataclass(frozen=True)
class Judgement:
    """What terms say of a decision: refusals by field, and what was missing to answer a rule."""

    refusals: tuple[tuple[str, Refusal], ...]
    missing: tuple[str, ...]


def judge(rules: Sequence[Rule], terms: SignedTerms, facts: Facts, is_implied: Callable[[str], bool]) -> Judgement:
    """Ask every rule. `is_implied` says of a field whether it passes though facts for its rule are missing."""
    refusals, missing = list[tuple[str, Refusal]](), dict[str, None]()
    for rule in rules:
        try:
            refusal = _answer(rule, terms, [facts[name] for name in rule.facts])
        except NotHeldError as error:
            if not is_implied(rule.field):
                missing[str(error)] = None
            continue
        if refusal is not None:
            refusals.append((rule.field, refusal))
    return Judgement(tuple(refusals), tuple(missing))


def _answer(rule: Rule, terms: SignedTerms, values: Sequence[Any]) -> Refusal | None:
    least, most = (
        _refusal(rule, terms, [getattr(one, end) if isinstance(one, Counted) else one for one in values])
        for end in ("least", "most")
    )
    if (least is None) != (most is None):
        raise NotHeldError(next(one.what for one in values if isinstance(one, Counted) and one.least != one.most))
    return least


def _refusal(rule: Rule, terms: SignedTerms, values: Sequence[Any]) -> Refusal | None:
    try:
        rule.check(terms, *values)
    except Refusal as refusal:
        return refusal
    return None
