"""Who may read why something was refused (side: enclave).

A refusal's code is public. What was expected and seen may quote a party's terms, so it is for that party alone, and
only where its signature was checked before: wrapped to it in the answer, and kept for it to ask for where somebody else
asked (`reasons`). Where several parties' terms are judged together, each is told its own reason, and one that has none
is told so under the same size: the host can't see who refused, nor how many did.

What speaks of no terms, but of what asker and host have in the clear (a quote, its collateral, a release, a grant), is
shown to them as it is: it mends what is theirs, and tells them nothing that they could not find out.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import CloisterError, Refusal
from common.identifiers import PartyKey
from common.messages.policy import BundleTerms, DataPolicy

JudgedTerms = tuple[DataPolicy | BundleTerms, Callable[[], None]]
"""A party's (verified) terms, and what raises a refusal if they do not allow it."""


@dataclass(frozen=True)
class Told:
    """What one party is told under its report key: its reason, or that it has none."""

    party: PartyKey
    report_key: bytes
    refusal: Refusal | None


class EntitledRefusal(CloisterError):
    """A refusal whose details belong to somebody.

    `told` are parties: whose refusal it is, then the others whose terms were judged with its. `shown` is for asker and
    host. `of_release`: release keys may read it, whose release or inventory refused.
    """

    def __init__(
        self, refusal: Refusal, told: tuple[Told, ...] = (), *, shown: Refusal | None = None, of_release: bool = False
    ) -> None:
        super().__init__(str(refusal))
        self.refusal, self.told, self.shown, self.of_release = refusal, told, shown, of_release


@contextmanager
def entitled(terms: DataPolicy | BundleTerms) -> Iterator[None]:
    """Details of refusals raised inside belong to the party whose (verified) terms these are."""
    try:
        yield
    except Refusal as refusal:
        raise EntitledRefusal(refusal, (_told(terms, refusal),)) from refusal


@contextmanager
def in_the_clear(*, of_release: bool) -> Iterator[None]:
    """Refusals raised inside speak of nothing but what asker and host have; also of what release keys signed?"""
    try:
        yield
    except Refusal as refusal:
        raise EntitledRefusal(refusal, shown=refusal, of_release=of_release) from refusal


@contextmanager
def beside(seen: str) -> Iterator[None]:
    """Asker and host, who don't learn what parties' terms expected, are shown what these were held against."""
    try:
        yield
    except EntitledRefusal as cause:
        cause.shown = cause.shown or type(cause.refusal)(cause.refusal.code, seen=seen)
        raise


def judge_each(judged: Sequence[JudgedTerms]) -> None:
    """Judge under every party's terms, also after one has refused.

    Raises the first `EntitledRefusal`, in which every other party of these is told too, each once.
    """
    told, first = dict[PartyKey, Told](), None
    for terms, judge in judged:
        try:
            with entitled(terms):
                judge()
        except EntitledRefusal as cause:
            first, own = first or cause, cause.told[0]
        else:
            own = _told(terms, None)
        if own.party not in told or told[own.party].refusal is None:
            told[own.party] = own
    if first is not None:
        whose = first.told[0]
        others = tuple(one for party, one in told.items() if party != whose.party)
        raise EntitledRefusal(first.refusal, (whose, *others)) from first


def _told(terms: DataPolicy | BundleTerms, refusal: Refusal | None) -> Told:
    return Told(terms.party, terms.report_key, refusal)
