"""What becomes possible by a new version of a policy, and what stops (side: owner).

Each field is of one kind, and the kind says which direction is wider. Fields are called as in a policy file (PATHS).
Tests hold the tables against the fields.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from client.policy_terms import PolicyTerms, ProviderTerms, RecoveryWishes
from client.policy_words import day_words
from common.errors import FormatError
from common.messages.bounds import BoundsT
from common.messages.evidence import TrustLevel
from common.messages.sandbox_bounds import SandboxBounds
from common.messages.tcb_terms import TcbTerms, TcbTolerance

Terms = PolicyTerms | ProviderTerms


@dataclass(frozen=True)
class Difference:
    """Texts, one for each thing that changes. `otherwise` is neither wider nor narrower."""

    possible: tuple[str, ...]
    stops: tuple[str, ...]
    otherwise: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return not (self.possible or self.stops or self.otherwise)


_MEBIBYTES: Final = {"memory_bytes": ("memory_mib", 20), "file_bytes": ("scratch_mib", 20)}
_NOBODY: Final = RecoveryWishes(holders=(), needed=0)

Change = tuple[bool | None, str]
"""Whether it is wider, None if neither, and the text."""

Kind = Callable[[str, Any, Any], Iterator[Change]]


def _named(name: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[Change]:
    """Only what is listed is allowed."""
    yield from ((True, f"{name}: {one}") for one in new if one not in old)
    yield from ((False, f"{name}: {one}") for one in old if one not in new)


def _any_if_empty(name: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[Change]:
    """As `_named`, but an empty list allows all."""
    if old and new:
        yield from _named(name, old, new)
    elif old:
        yield True, f"{name}: any, not only {', '.join(map(str, old))}"
    elif new:
        yield False, f"{name}: all but {', '.join(map(str, new))}"


def _pinned_if_empty(name: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[Change]:
    """As `_named`, but an empty list is the release that is pinned when the policy is signed."""
    if bool(old) == bool(new):
        yield from _named(name, old, new)
    else:
        yield (
            None,
            f"{name}: {', '.join(new or ('the pinned one',))} instead of {', '.join(old or ('the pinned one',))}",
        )


def _denied(name: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[Change]:
    """What is listed is not allowed."""
    yield from ((not wider, f"{text} (denied)" if wider else f"{text} (denied no more)")
                for wider, text in _named(name, old, new))  # fmt: skip


def _most(name: str, old: int | None, new: int | None) -> Iterator[Change]:
    """More is wider, None is without limit."""
    if old != new:
        yield (new is None or (old is not None and new > old)), f"{name}: {_number(new)} instead of {_number(old)}"


def _least(name: str, old: int, new: int) -> Iterator[Change]:
    """Less is wider."""
    if old != new:
        yield new < old, f"{name}: {new:,} instead of {old:,}"


def _allowed(name: str, old: bool, new: bool) -> Iterator[Change]:
    if old != new:
        yield new, f"{name}: {'yes' if new else 'no'}"


def _required(name: str, old: bool, new: bool) -> Iterator[Change]:
    if old != new:
        yield old, f"{name}: {'yes' if new else 'no'}"


def _detail(name: str, old: str, new: str) -> Iterator[Change]:
    if old != new:
        yield new == "scores", f"{name}: {new} instead of {old}"


def _report(name: str, old: str, new: str) -> Iterator[Change]:
    if old != new:
        yield new == "classes", f"{name}: {new} instead of {old}"


def _level(name: str, old: str | None, new: str | None) -> Iterator[Change]:
    if old != new:
        ranks = [TrustLevel(one or TrustLevel.SGX).rank for one in (old, new)]
        wider = None if ranks[0] == ranks[1] else ranks[1] < ranks[0]
        yield wider, f"{name}: {new or 'by identity'} instead of {old or 'by identity'}"


def _end(name: str, old: int | None, new: int | None) -> Iterator[Change]:
    if old != new:
        words = [("by --days" if at is None else day_words(at)) for at in (new, old)]
        wider = None if old is None or new is None else new > old
        yield wider, f"{name}: {words[0]} instead of {words[1]}"


def _otherwise(name: str, old: object, new: object) -> Iterator[Change]:
    if old != new:
        yield None, f"{name}: {_text(new)} instead of {_text(old)}"


def _recovery(name: str, old: RecoveryWishes | None, new: RecoveryWishes | None) -> Iterator[Change]:
    """Whoever holds shares can open the data key: more holders, or fewer shares that are needed, is wider."""
    before, after = old or _NOBODY, new or _NOBODY
    yield from _named(f"{name}.holders", before.holders, after.holders)
    if before.needed and after.needed:
        yield from _least(f"{name}.needed", before.needed, after.needed)
    elif before.needed != after.needed:
        yield after.needed > 0, f"{name}: {_shares(after)} instead of {_shares(before)}"
    yield from _otherwise(f"{name}.of_operator", before.of_operator, after.of_operator)


def _shares(wishes: RecoveryWishes) -> str:
    return f"any {wishes.needed} holders together" if wishes.needed else "nobody"


def _tolerances(name: str, old: tuple[TcbTolerance, ...], new: tuple[TcbTolerance, ...]) -> Iterator[Change]:
    yield from _named(name, tuple(map(_tolerance, old)), tuple(map(_tolerance, new)))


def _tcb(name: str, old: TcbTerms, new: TcbTerms) -> Iterator[Change]:
    for field, kind in TCB_KINDS.items():
        yield from kind(f"{name}.{field}", getattr(old, field), getattr(new, field))


def _limits(name: str, old: SandboxBounds, new: SandboxBounds) -> Iterator[Change]:
    """Under the names and in the units of a policy's file."""
    for field in SandboxBounds.model_fields:
        path, shift = _MEBIBYTES.get(field, (field, 0))
        limits = [None if one is None else one >> shift for one in (getattr(old, field), getattr(new, field))]
        yield from _most(f"{name}.{path}", *limits)


def _bounds(name: str, old: BoundsT, new: BoundsT) -> Iterator[Change]:
    for field in type(old).model_fields:
        yield from _most(f"{name}.{field}", getattr(old, field), getattr(new, field))


TCB_KINDS: Final[dict[str, Kind]] = {
    "accepted_statuses": _named,
    "tolerances": _tolerances,
    "rejected_advisories": _denied,
    "min_tcb_evaluation": _least,
    "allowed_fmspcs": _any_if_empty,
    "denied_fmspcs": _denied,
    "platforms": _any_if_empty,
    "denied_platforms": _denied,
    "dynamic_platform": _allowed,
    "inventory": _required,
    "cached_keys": _allowed,
    "smt": _allowed,
    "dangerously_allow": _named,
    "service_domains": _named,
}
KINDS: Final[dict[str, Kind]] = {
    "providers": _named,
    "owners": _any_if_empty,
    "bundles": _any_if_empty,
    "purposes": _named,
    "columns": _any_if_empty,
    "minimal_trust_level": _level,
    "releases": _pinned_if_empty,
    "revoked_releases": _denied,
    "measurements": _any_if_empty,
    "tcb": _tcb,
    "sandboxes": _named,
    "sandbox_bounds": _limits,
    "min_trainers": _least,
    "max_trainers": _most,
    "not_after": _end,
    "max_jobs": _most,
    "max_attempts": _most,
    "max_state_class": _most,
    "max_bits": _most,
    "users": _any_if_empty,
    "answers_total": _most,
    "detail": _detail,
    "answer_bounds": _bounds,
    "grants_to_provider": _allowed,
    "refusal_report": _report,
    "approvers": _otherwise,
    "approvals_needed": _least,
    "recovery": _recovery,
}

PATHS: Final[dict[str, str]] = {
    "providers": "allow.providers",
    "owners": "allow.owners",
    "bundles": "allow.bundles",
    "purposes": "purpose",
    "minimal_trust_level": "where.trust_level",
    "releases": "where.releases",
    "revoked_releases": "where.revoked_releases",
    "measurements": "where.measurements",
    "tcb": "where.tcb",
    "sandboxes": "where.sandboxes",
    "sandbox_bounds": "where.limits",
    "min_trainers": "where.min_trainers",
    "max_trainers": "where.max_trainers",
    "not_after": "until",
    "max_jobs": "at_most.jobs",
    "max_attempts": "at_most.attempts",
    "max_state_class": "at_most.state_values",
    "max_bits": "at_most.bits",
    "users": "answering.users",
    "answers_total": "answering.answers",
    "detail": "answering.detail",
    "answer_bounds": "answering",
    "grants_to_provider": "answering.provider_too",
    "refusal_report": "answering.refusal_report",
    "approvers": "changing.approvers",
    "approvals_needed": "changing.approvals",
}
"""Where a field stands in a policy's file, if not under its own name."""


def compare(old: Terms, new: Terms) -> Difference:
    """What changes. Raises `FormatError` (format.policy) for an owner's policy beside a provider's terms."""
    if type(old) is not type(new):
        raise FormatError("format.policy", expected="two policies of one kind", seen="one of data, one of a bundle")
    changes = [
        change
        for name, kind in KINDS.items()
        if name in type(new).model_fields
        for change in kind(PATHS.get(name, name), getattr(old, name), getattr(new, name))
    ]
    texts = {which: tuple(text for wider, text in changes if wider is which) for which in (True, False, None)}
    return Difference(texts[True], texts[False], texts[None])


def _number(value: int | None) -> str:
    return "without limit" if value is None else f"{value:,}"


def _text(value: object) -> str:
    return ", ".join(map(str, value)) or "nobody" if isinstance(value, tuple) else str(value)


def _tolerance(one: TcbTolerance) -> str:
    limits = (("until", one.until), ("from", one.min_tcb_date))
    return " ".join([str(one.status), *(f"{word} {day_words(at)}" for word, at in limits if at is not None)])
