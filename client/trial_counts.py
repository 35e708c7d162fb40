"""What a data set or bundle was charged before a decision, as far as a log tells (side: owner).

Kept twice: as it was, and as it would have been. A log says how many answers a block had, not how many bits each
carried, and of what was refused it can't say what would have followed: such counts have bounds.
"""

import math
from typing import Any, Final

from client.past_facts import Counted, Facts, NotHeld
from client.trial_rules import SignedTerms
from common.leakage import report_bits
from common.messages.decision_log import LogEntry
from common.messages.policy import BundleTerms

COUNTED: Final = frozenset({"max_jobs", "max_bits", "answers_total"})
"""Fields of terms that these counts are held against."""

_NO_JOBS: Final = Counted("how many jobs came before it", 0, 0)
_NO_BITS: Final = Counted("how many bits left before it", 0, 0)
_NO_REPORT: Final = Counted("whether all owners of a job let its provider be told more", 0, 0)
_NO_ANSWERS: Final = Counted("how many answers came before it", 0, 0)
_FOLLOWED: Final = "what would have followed a decision that would have been allowed"


class Counts:
    """Of one data set, or of one bundle: over all models of it."""

    def __init__(self) -> None:
        self._jobs, self._bits, self._answers = _NO_JOBS, _NO_BITS, _NO_ANSWERS
        self._unknown = 0.0

    @property
    def left_open(self) -> bool:
        """Whether more may have come about than the log tells."""
        return self._unknown > 0

    def facts(self, entry: LogEntry, known: Facts, terms: SignedTerms | None) -> Facts:
        """The counters before this entry, and what it asks for under these terms."""
        answers = 1 if entry.subjects.answers is None else entry.subjects.answers
        asked = {
            "accept-order": _more(known["order_bits"], report_charge(entry, terms)),
            "admit-launch": known["attempt_bits"],
            "draw-budget": Counted("how many bits an answer carries", 0, math.inf if answers else 0),
        }
        return {
            "jobs_before": self._jobs,
            "bits_spent": self._bits,
            "bits_asked": asked.get(entry.decision, 0),
            "answers_given": _opened(self._answers, self._unknown),
            "answers_asked": answers,
        }

    def charge(
        self, entry: LogEntry, known: Facts, terms: SignedTerms | None, *, surely: bool, answers: int = 0
    ) -> None:
        """Charge for a decision that came about, or may have, under these terms (None: not held).

        `answers` of a block, not all that it asked for.
        """
        certain = 1 if surely else 0
        if entry.decision == "accept-order":
            self._jobs, told = _grown(self._jobs, certain, 1), report_charge(entry, terms)
            self._bits = _grown(self._bits, certain * told.least, told.most)
        elif entry.decision == "admit-launch" and entry.subjects.role == "trainer":
            bits = known["attempt_bits"]
            least, most = (0, math.inf) if isinstance(bits, NotHeld) else (bits, bits)
            self._bits = _grown(self._bits, certain * least, most)
        elif entry.decision == "draw-budget" and answers:
            self._bits = _grown(self._bits, 0, math.inf)
            self._answers = _grown(self._answers, certain * answers, answers)

    def begin_elsewhere(self) -> None:
        """It came here with what another broker had charged, which this log does not tell."""
        unknown = Counted("what was charged at the key broker that it came from", 0, math.inf)
        self._jobs = self._bits = self._answers = unknown

    def leave_open(self, entry: LogEntry) -> None:
        """A decision would have been allowed, and nobody knows what would have followed."""
        if entry.decision == "accept-order":
            self._jobs = _opened(self._jobs, 1)
        self._bits, self._unknown = _opened(self._bits, math.inf), math.inf


def report_charge(entry: LogEntry, terms: SignedTerms | None) -> Counted:
    """What an order is charged for its report: over data of several owners, all of them must let there be one."""
    if entry.decision != "accept-order" or isinstance(terms, BundleTerms):
        return _NO_REPORT
    most = report_bits("classes" if terms is None else terms.refusal_report)
    least = 0 if terms is None or len(entry.subjects.datasets) > 1 else most
    return Counted(_NO_REPORT.what, least, most)


def _more(bits: Any, told: Counted) -> Any:
    """Bits that an order asks for, with those of its report; what is not held stays so."""
    return bits if isinstance(bits, NotHeld) else Counted(told.what, bits + told.least, bits + told.most)


def _opened(counted: Counted, most: float) -> Counted:
    return Counted(_FOLLOWED, counted.least, counted.most + most) if most else counted


def _grown(counted: Counted, least: float, most: float) -> Counted:
    return Counted(counted.what, counted.least + least, counted.most + most)
