"""A log of past decisions under other terms (side: owner).

It is told again from its beginning with these terms in place of every version that was in force, and with the counts
of jobs, answers and bits that would have come about. Of a decision it says one of these:

    refused     these terms refuse it, for these reasons; or the job, launch or model would not have been there
    allowed     it was refused for what the terms in force said, and these refuse it no longer. What the broker checks
                after them, and what other parties' terms say, no log tells
    unjudged    a rule looks at something that is neither in the log nor held here: it is named, and nothing is guessed.
                So of refusals that one entry tells of together
    same        none of these

What is not held does not matter where these terms ask for no more than versions that are held and let it through.
"""

from collections.abc import Sequence
from typing import Final

from client import policy_events as p
from client.context import Party
from client.past_facts import Facts, PastFacts, held_terms
from client.policy_difference import KINDS
from client.policy_terms import Thing
from client.trial_counts import COUNTED, Counts
from client.trial_rules import Judgement, SignedTerms, judge, rules_of
from common.identifiers import Digest
from common.messages.decision_log import LogEntry
from common.messages.policy import BundleTerms, DataPolicy

_FORCE: Final = "the version that was in force"
_TOGETHER: Final = "each of the refusals that are told together"


class Trial:
    """The log of one data set or bundle under other terms; entries are to be held against them in their order."""

    def __init__(self, party: Party, terms: SignedTerms, entries: Sequence[LogEntry], thing: Thing) -> None:
        self._party, self._terms, self._thing = party, terms, thing
        self._past = PastFacts(party, entries)
        self._were, self._would_be = Counts(), Counts()
        self._gone = dict[str | None, int]()
        """Jobs, launches and models that would not have been, and the entries that say why."""

    def hold(self, entry: LogEntry) -> p.DecisionTried | None:
        """What would have become of a decision; None if it is about something else, or no terms have a say in it."""
        rules = rules_of(self._terms, entry.decision, entry.subjects.role)
        if entry.decision == "recover-dataset" and self._thing in entry.subjects.datasets:
            self._were.begin_elsewhere()
            self._would_be.begin_elsewhere()
        if entry.decision == "complete-job" and entry.subjects.launch in self._gone:
            self._gone[entry.subjects.model] = self._gone[entry.subjects.launch]
        if not rules or self._thing not in (*entry.subjects.datasets, entry.subjects.bundle):
            return None
        if entry.further is not None:
            about_terms = any(entry.code in rule.codes for rule in rules)
            return _tried(entry, "unjudged", Judgement((), (_TOGETHER,))) if about_terms else _tried(entry, "same")
        known = self._past.of(entry)
        if entry.outcome == "refused":
            tried = self._refused(entry, known)
        else:
            tried = self._granted(entry, known)
            in_force = self._version(entry)
            self._were.charge(entry, known, in_force, surely=True, answers=entry.subjects.answers or 0)
        return tried

    def _granted(self, entry: LogEntry, known: Facts) -> p.DecisionTried:
        after = self._after(entry)
        if after is not None:
            return _tried(entry, "refused", after=after)
        passed = self._versions(entry)
        found = self._judge(self._terms, entry, self._would_be, known, [one for one in passed if one is not None])
        if found.refusals:
            if entry.decision in ("accept-order", "admit-launch"):
                self._gone[entry.subjects.launch or entry.subjects.job] = entry.number
            if entry.decision == "draw-budget":
                self._would_be.charge(entry, known, self._terms, surely=True, answers=_still_given(found))
            return _tried(entry, "refused", found)
        answers = entry.subjects.answers or 0
        self._would_be.charge(entry, known, self._terms, surely=not found.missing, answers=answers)
        return _tried(entry, "unjudged" if found.missing else "same", found)

    def _refused(self, entry: LogEntry, known: Facts) -> p.DecisionTried:
        rules = [one for one in rules_of(self._terms, entry.decision, entry.subjects.role) if entry.code in one.codes]
        found = self._judge(self._terms, entry, self._would_be, known)
        if not rules or found.refusals or self._after(entry) is not None:
            return _tried(entry, "same", found)
        missing = dict[str, None]()
        for version in self._versions(entry):
            if version is None:
                missing[_FORCE] = None
                continue
            cause = judge(rules, version, known | self._were.facts(entry, known, version), lambda _: False)
            if cause.refusals:
                break
            missing.update(dict.fromkeys(cause.missing))
        else:
            if not missing:
                return _tried(entry, "same")  # what other parties' terms or documents said
            self._would_be.leave_open(entry)
            return _tried(entry, "unjudged", Judgement((), tuple(missing)))
        self._would_be.leave_open(entry)
        return _tried(entry, "unjudged" if found.missing else "allowed", found)

    def _after(self, entry: LogEntry) -> int | None:
        """The entry of the order or launch without which there would have been nothing to decide on."""
        subjects = entry.subjects
        names = (subjects.job, subjects.launch, *([subjects.model] if subjects.role == "query" else []))
        return next((self._gone[name] for name in names if name in self._gone and name is not None), None)

    def _judge(
        self, terms: SignedTerms, entry: LogEntry, counts: Counts, known: Facts, passed: Sequence[SignedTerms] = ()
    ) -> Judgement:
        def is_implied(field: str) -> bool:
            return not (field in COUNTED and counts.left_open) and _asks_no_more(field, terms, passed)

        rules = rules_of(terms, entry.decision, entry.subjects.role)
        return judge(rules, terms, known | counts.facts(entry, known, terms), is_implied)

    def _versions(self, entry: LogEntry) -> list[SignedTerms | None]:
        """The versions under which it was decided: the newest of then, of a launch also that of its order."""
        accepted = self._past.accepted(entry)
        of_order = [] if accepted is None or entry.subjects.role == "query" else [self._version(accepted)]
        return [self._version(entry), *of_order]

    def _version(self, entry: LogEntry) -> SignedTerms | None:
        subjects = entry.subjects
        if isinstance(self._terms, BundleTerms):
            return held_terms(self._party, subjects.terms, BundleTerms)
        by_thing = dict[Thing, Digest](zip(subjects.datasets, subjects.policies, strict=False))
        return held_terms(self._party, by_thing.get(self._thing), DataPolicy)


def _asks_no_more(field: str, terms: SignedTerms, passed: Sequence[SignedTerms]) -> bool:
    """Whether these terms ask in this field for no more than one version that the decision has passed."""
    return any(
        all(wider for wider, _ in KINDS[field](field, getattr(one, field), getattr(terms, field)))
        and not (field == "max_bits" and _tells_more(terms, one))
        for one in passed
    )


def _tells_more(terms: SignedTerms, than: SignedTerms) -> bool:
    """Whether an order is charged for a report by these terms alone."""
    return "classes" == getattr(terms, "refusal_report", None) != getattr(than, "refusal_report", None)


def _still_given(found: Judgement) -> int:
    """Of a block of which these terms would have let out a part, that part."""
    (field, refusal), *more = found.refusals
    return int(refusal.seen or 0) if field == "answers_total" and not more else 0


def _tried(
    entry: LogEntry, verdict: p.Verdict, found: Judgement | None = None, after: int | None = None
) -> p.DecisionTried:
    found = found or Judgement((), ())
    reasons = tuple(
        p.TrialReason(code=one.code, field=field, expected=one.expected, seen=one.seen) for field, one in found.refusals
    )
    return p.DecisionTried(entry=entry, verdict=verdict, reasons=reasons, after=after, missing=found.missing)
