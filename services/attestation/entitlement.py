"""Who may read why something was refused (side: enclave).

A refusal's code is public. What was expected and seen may quote a party's terms, so it is wrapped to that party alone,
and only where its signature was checked before. Where several parties' terms are judged together, each is told its own
reason, and one that has none is told so under the same size: the host can't see who refused, nor how many did.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import CloisterError, Refusal
from common.identifiers import PartyKey
from common.messages.policy import BundleTerms, DataPolicy


@dataclass(frozen=True)
class Told:
    """What one party is told under its report key: its reason, or that it has none."""

    party: PartyKey
    report_key: bytes
    refusal: Refusal | None


class EntitledRefusal(CloisterError):
    """A refusal whose details belong to the party of `told`; `others` are told theirs."""

    def __init__(self, refusal: Refusal, told: Told, others: tuple[Told, ...] = ()) -> None:
        super().__init__(str(refusal))
        self.refusal, self.told, self.others = refusal, told, others

    @property
    def all_told(self) -> tuple[Told, ...]:
        """Whose refusal it is, then the others."""
        return (self.told, *self.others)


@contextmanager
def entitled(terms: DataPolicy | BundleTerms) -> Iterator[None]:
    """Details of refusals raised inside belong to the party whose (verified) terms these are."""
    try:
        yield
    except Refusal as refusal:
        raise EntitledRefusal(refusal, _told(terms, refusal)) from refusal


def judge_each(judgements: Sequence[tuple[DataPolicy | BundleTerms, Callable[[], None]]]) -> None:
    """Judge under every party's terms, also after one has refused.

    Raises the first `EntitledRefusal`, in which every other party of these is told too, each once.
    """
    told, first = dict[PartyKey, Told](), None
    for terms, judge in judgements:
        try:
            with entitled(terms):
                judge()
        except EntitledRefusal as cause:
            first, own = first or cause, cause.told
        else:
            own = _told(terms, None)
        if own.party not in told or told[own.party].refusal is None:
            told[own.party] = own
    if first is not None:
        others = tuple(one for party, one in told.items() if party != first.told.party)
        raise EntitledRefusal(first.refusal, first.told, others) from first


def _told(terms: DataPolicy | BundleTerms, refusal: Refusal | None) -> Told:
    return Told(terms.owner if isinstance(terms, DataPolicy) else terms.provider, terms.report_key, refusal)
