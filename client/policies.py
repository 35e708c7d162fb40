"""Looking at policies before they are signed: check, explain, compare (side: owner).

A policy is named by its file, or by a data set or bundle of this identity: then it is the newest version that was
signed here. Nothing leaves this machine.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from client import policy_events as p
from client.context import Party
from client.events import Event
from client.policy_difference import compare
from client.policy_file import PolicyFileError, read_policy_file
from client.policy_terms import PolicyTerms, ProviderTerms, chosen_terms, minimal_trust_level, newest_policy
from client.policy_words import Assumed, bits_of, sentences
from common.identifiers import BundleId, DatasetId


def check(path: Path) -> Iterator[Event]:
    """Read a policy file. Ends with `PolicyChecked`, or tells every `PolicyProblem` and raises (format.policy)."""
    try:
        terms = read_policy_file(path)
    except PolicyFileError as error:
        for one in error.problems:
            yield p.PolicyProblem(
                file=str(path),
                line=one.mark.line,
                column=one.mark.column,
                field=one.field,
                expected=one.expected,
                seen=one.seen,
            )
        raise
    kind: Literal["data", "bundle"] = "data" if isinstance(terms, PolicyTerms) else "bundle"
    yield p.PolicyChecked(file=str(path), kind=kind, hints=tuple(_hints(terms, int(time.time()))))


def explain(party: Party, source: str, assumed: Assumed) -> Iterator[Event]:
    """Say what a policy says. Ends with `PolicyExplained`."""
    yield explained(source, find_terms(party, source), assumed)


def explained(subject: str, terms: PolicyTerms | ProviderTerms, assumed: Assumed) -> p.PolicyExplained:
    """The event that says what terms say."""
    bits = bits_of(terms, assumed)
    return p.PolicyExplained(
        subject=subject,
        sentences=tuple(sentences(terms, assumed)),
        bits_per_answer=bits.per_answer,
        answer_bits=bits.answers,
        attempt_bits=bits.attempts,
        report_bits=bits.reports,
        max_bits=bits.limit,
        bits=bits.most,
    )


def difference(party: Party, old: str, new: str) -> Iterator[Event]:
    """Say what changes from one policy to another. Ends with `PolicyCompared`."""
    before, after = (_as_signed(party, find_terms(party, one)) for one in (old, new))
    found = compare(before, after)
    yield p.PolicyCompared(
        old=old, new=new, becomes_possible=found.possible, stops=found.stops, otherwise=found.otherwise
    )


def find_terms(party: Party, source: str) -> PolicyTerms | ProviderTerms:
    """The terms of a file, data set or bundle. Raises `PolicyFileError`, or `NotFoundError` as `newest_policy`."""
    things: tuple[type[DatasetId | BundleId], ...] = (DatasetId, BundleId)
    named = next((kind(source) for kind in things if re.fullmatch(kind.pattern, source)), None)
    if named is None or Path(source).exists():
        return read_policy_file(Path(source))
    return chosen_terms(newest_policy(party, named))


def _as_signed(party: Party, terms: PolicyTerms | ProviderTerms) -> PolicyTerms | ProviderTerms:
    """With the trust level that this identity, if it is made already, would sign where the terms name none."""
    if terms.minimal_trust_level is not None or not party.made:
        return terms
    return terms.model_copy(update={"minimal_trust_level": minimal_trust_level(party)})


def _hints(terms: PolicyTerms | ProviderTerms, at: int) -> Iterator[str]:
    if terms.not_after is not None and terms.not_after < at:
        yield "until: it is over already, so everything is refused"
    if isinstance(terms, PolicyTerms):
        if not terms.providers or not terms.max_jobs:
            yield "allow: nobody may train"
        if terms.columns and len(terms.columns) < 2:
            yield "columns: a bundle reads two columns, an input and a label"
        if set(terms.providers) & set(terms.users) and not terms.grants_to_provider:
            yield "answering: a provider is among the users, and `provider_too` is not set"
        if terms.answers_total and bits_of(terms, Assumed(classes=1)).most == 0:
            yield "at_most: there are answers and no bits for them"
    if terms.approvers and not terms.approvals_needed:
        yield "changing: there are approvers, and no approval is needed"
    if terms.users and not terms.answers_total:
        yield "answering: there are users and no answers"
