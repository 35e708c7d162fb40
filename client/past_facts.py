"""What is known of a past decision: its log entry, and this party's own documents that the entry names (side: owner).

An entry holds identifiers and digests. What they stand for is looked up in the identity directory: orders, grants,
publications, versions of policies. A document counts only if its digest is the one that the entry names. What is found
nowhere is a `NotHeld`: a rule that looks at it can't be answered, and says by name what was missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from client.context import DocumentKind, Party
from common.errors import CloisterError
from common.identifiers import BundleId, Digest, GrantId, JobId, PartyKey, RoleName
from common.leakage import attempt_bits
from common.messages.decision_log import LogEntry, LogSubjects
from common.messages.objects import BundlePublication
from common.messages.order import TrainingOrder
from common.messages.policy import BundleTerms, DataPolicy, QueryGrant
from common.messages.signed import Signed

TermsT = TypeVar("TermsT", DataPolicy, BundleTerms)
Facts = dict[str, Any]
"""By name; each is its value, a `Counted` or a `NotHeld`."""


class NotHeldError(CloisterError):
    """A rule looked at a fact that is not held."""


class NotHeld:
    """A fact that neither log nor identity directory holds; to compare it or look into it raises `NotHeldError`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __eq__(self, _: object) -> NoReturn:
        raise NotHeldError(self._name)

    __lt__ = __le__ = __gt__ = __ge__ = __getattr__ = __call__ = __eq__

    def __hash__(self) -> NoReturn:
        raise NotHeldError(self._name)

    __iter__ = __hash__


@dataclass(frozen=True)
class Counted:
    """A number of which bounds are known. `what` names that which leaves it open."""

    what: str
    least: float
    most: float


class PastFacts:
    """The facts of a log's entries; `entries` are all that this party may read."""

    def __init__(self, party: Party, entries: Sequence[LogEntry]) -> None:
        self._party = party
        self._orders = {entry.subjects.job: entry for entry in entries if _is_accepted_order(entry)}
        self._released = [entry for entry in entries if entry.outcome == "released"]
        replaced = any(entry.decision == "recover-identity" for entry in entries)
        self._names: Any = NotHeld("whose keys were replaced") if replaced else _itself

    def of(self, entry: LogEntry) -> Facts:
        """All facts but counters."""
        subjects = entry.subjects
        facts = {"at": entry.time, "release": subjects.release, "trust_level": self._level(subjects)}
        facts["names"] = self._names
        facts |= self._of_order(entry)
        return facts | {
            "attempt": self._attempt(entry),
            "measurement": subjects.measurement or NotHeld("the measurement of a refused launch"),
            "machine": NotHeld("the machine behind a quote"),
            "user": self._user(subjects, facts["provider"]),
        }

    def accepted(self, entry: LogEntry) -> LogEntry | None:
        """The entry that accepted the order of this entry's job."""
        return self._orders.get(entry.subjects.job)

    def _of_order(self, entry: LogEntry) -> Facts:
        accepted = self.accepted(entry) or entry
        order, publication = self._order(accepted), self._publication(entry.subjects)
        missing: Any = NotHeld("the order")
        bits = None if order is None else attempt_bits(order.schedule)
        root: Any = NotHeld("the bundle's publication")
        state_class = root if order is None or accepted.outcome == "refused" else order.schedule.state_class
        return {
            "owners": accepted.subjects.signers,
            "provider": publication.provider if publication else _provider(accepted.subjects),
            "bundle_root": publication.object.root if publication else root,
            "state_class": publication.state_class if publication else state_class,
            "purpose": order.purpose if order else missing,
            "sandbox": order.sandbox if order else missing,
            "trainers": order.trainers if order else missing,
            "attempt_bits": missing if bits is None else bits,
            "order_bits": missing if order is None or bits is None else order.trainers * bits,
        }

    def _order(self, entry: LogEntry) -> TrainingOrder | None:
        """A job's name is the beginning of its order's digest; the order's own entry names all of it."""
        named = entry.subjects.document
        if entry.decision != "accept-order" or named is None:
            return None
        found = self._document("orders", JobId.of(named), named)
        return None if found is None else TrainingOrder.decode(found.payload)

    def _publication(self, subjects: LogSubjects) -> BundlePublication | None:
        if subjects.bundle is None:
            return None
        found = self._party.document("publications", subjects.bundle)
        if found is None or BundleId.of(found.digest) != subjects.bundle:
            return None
        return BundlePublication.decode(found.payload)

    def _user(self, subjects: LogSubjects, provider: Any) -> Any:
        found = None if subjects.document is None else self._document(
            "grants", GrantId.of(subjects.document), subjects.document
        )  # fmt: skip
        if found is not None:
            return QueryGrant.decode(found.payload).user
        others = set(subjects.parties) - set(subjects.signers)
        if not isinstance(provider, NotHeld):
            others -= {provider}
        return others.pop() if subjects.signers and len(others) == 1 else NotHeld("the grant")

    def _document(self, kind: DocumentKind, name: str, digest: str) -> Signed | None:
        found = self._party.document(kind, name)
        return found if found is not None and found.digest == digest else None

    def _attempt(self, entry: LogEntry) -> int:
        """Of the launch; of one that was not even challenged, that which it would have been."""
        wanted = (entry.subjects.job, entry.subjects.role, entry.subjects.slot)
        before = [
            one.subjects.attempt or 0
            for one in self._released
            if one.number < entry.number and (one.subjects.job, one.subjects.role, one.subjects.slot) == wanted
        ]
        return entry.subjects.attempt or 1 + max(before, default=0)

    def _level(self, subjects: LogSubjects) -> Any:
        """The broker's own level, below which no launch is, where the pinned release knows one broker alone."""
        pinned = self._party.trust
        if subjects.release == pinned.release.digest:
            brokers = pinned.open_release().measurements.get(RoleName("broker"), {})
            if len(brokers) == 1:
                return next(iter(brokers))
        return NotHeld("the trust level")


def held_terms(party: Party, digest: Digest | None, kind: type[TermsT]) -> TermsT | None:
    """The version of this digest, if this identity directory has it."""
    if digest is None:
        return None
    documents = [party.document("versions", digest)]
    documents += [party.document("policies", name) for name in party.documents("policies")]
    return next((kind.decode(one.payload) for one in documents if one is not None and one.digest == digest), None)


def _itself(key: PartyKey) -> tuple[PartyKey, ...]:
    """The keys of a party whose identity was never replaced."""
    return (key,)


def _is_accepted_order(entry: LogEntry) -> bool:
    return entry.decision == "accept-order" and entry.outcome == "recorded" and entry.subjects.job is not None


def _provider(subjects: LogSubjects) -> Any:
    """An order concerns its owners, who signed it, and the provider; who may be one of them."""
    others = set(subjects.parties) - set(subjects.signers)
    named = others or set(subjects.signers)
    return named.pop() if len(named) == 1 else NotHeld("the bundle's publication")
