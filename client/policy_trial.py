"""Which past decisions would differ under another policy (side: owner).

Nothing leaves this machine but the request for the log, where no fetched one is named; it is verified first.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from client import policy_events as p
from client.audit import read_log
from client.context import Party
from client.events import Event
from client.policies import find_terms
from client.policy_terms import PolicyTerms, ProviderTerms, Thing, policy_of, terms_of_bundle
from client.trial import Trial
from client.trial_rules import SignedTerms
from common.errors import NotFoundError
from common.messages.decision_log import LogEntry
from common.messages.policy import DataPolicy


def try_policy(party: Party, source: str, log_file: Path | None = None, thing: Thing | None = None) -> Iterator[Event]:
    """One `DecisionTried` for each decision that is not the same. Ends with `PolicyTried`.

    `source`: as for `policies.explain`; `log_file`: a fetched log, or the newest is fetched;
    `thing`: the data set or bundle, which need not be named where the log tells of one alone. Raises what reading the
    log raises, and `NotFoundError` (not_found.dataset, not_found.bundle).
    """
    terms = _as_signed(party, find_terms(party, source))
    log, verified = read_log(party, log_file)
    yield verified
    thing = _require_thing(terms, log.entries, thing)
    trial = Trial(party, terms, log.entries, thing)
    verdicts, missing = Counter[str](), Counter[str]()
    for entry in log.entries:
        tried = trial.hold(entry)
        if tried is None:
            continue
        verdicts[tried.verdict] += 1
        missing.update(tried.missing if tried.verdict == "unjudged" else ())
        if tried.verdict != "same":
            yield tried
    yield p.PolicyTried(
        policy=source,
        subject=thing,
        same=verdicts["same"],
        refused=verdicts["refused"],
        allowed=verdicts["allowed"],
        unjudged=verdicts["unjudged"],
        missing=dict(missing),
    )


def _as_signed(party: Party, terms: PolicyTerms | ProviderTerms) -> SignedTerms:
    """With what this identity would sign for the things that terms leave to it."""
    chosen = terms.under(party.trust.release.digest)
    return terms_of_bundle(party, chosen) if isinstance(chosen, ProviderTerms) else policy_of(party, chosen)


def _require_thing(terms: SignedTerms, entries: Sequence[LogEntry], named: Thing | None) -> Thing:
    """The thing that was named, or the only one of its kind that belongs to the party of these terms."""
    if isinstance(terms, DataPolicy):
        who, code, made = terms.owner, "not_found.dataset", {"register-dataset", "recover-dataset"}
    else:
        who, code, made = terms.provider, "not_found.bundle", {"register-bundle"}
    own = [
        thing
        for entry in entries
        if entry.decision in made and entry.outcome == "recorded" and entry.subjects.parties[:1] == (who,)
        for thing in (*entry.subjects.datasets, entry.subjects.bundle)
        if thing is not None
    ]
    if named is None and len(own) == 1:
        return own[0]
    if named is None or named not in own:
        expected = f"one of this party's in the log, by name: {', '.join(own) or 'there is none'}"
        raise NotFoundError(code, expected=expected, seen=named)
    return named
