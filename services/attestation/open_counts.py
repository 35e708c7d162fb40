"""What the decision log tells of by number: decisions beyond those that get entries of their own (side: enclave).

Refusals without end (`refusal_log`), tokens without end (`token_log`) and leases that are renewed all the time
(`leases`) must neither fill the log nor be left out of it. So they are counted, each kind by itself, and one entry says
how many there were of a kind and when the first and the last came. A kind is an entry without what tells one from the
next (`kind_of`). It is written

  * by the first request that comes `WINDOW_SECONDS` after the first of them: whoever asks for the log's head makes one;
  * when the broker is stopped in good order, and before it hands over;
  * not while frozen or while too much is unconfirmed (`StateAnchor.has_room`): then as soon as that is over.

What is open is enclosed in the next decision's state, whichever that is, and written after the next start. So a broker
that is killed forgets what it counted since its last decision, and nothing else.

Open kinds are bounded: beyond `KINDS_KEPT` of them further ones are counted by name and code alone, which leaves out
whom they concern and loses no number. Windows are measured by a clock that the host may set forward: so it gets one
entry a window, as it gets one by each start that it makes, and whatever has a date ends early.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Final

from common.messages.decision_log import Further, LogSubjects
from services.attestation.count_record import CountRecord
from services.attestation.decision_log import Decision
from services.attestation.state import BrokerState
from services.attestation.state_anchor import StateAnchor

WINDOW_SECONDS: Final = 3600
KINDS_KEPT: Final = 256

_APART: Final = ("document", "grant", "release", "evidence", "slot", "attempt", "launch", "measurement", "answers",
                 "job_outcome", "boot_nonce")  # fmt: skip
_OF_A_LAUNCH: Final = ("slot", "attempt", "launch", "measurement")
_NOTHING: Final = LogSubjects()


def kind_of(decision: Decision) -> Decision:
    """What it has in common with others that are counted with it. Tokens of an admitted launch: that launch, too."""
    kept = _OF_A_LAUNCH if decision.name == "issue-token" and decision.code is None else ()
    apart = {name: None for name in _APART if name not in kept}
    return replace(decision, subjects=decision.subjects.model_copy(update=apart))


@dataclass(frozen=True)
class _Open:
    place: int
    further: Further


class OpenCounts:
    """The kinds that are counted now, each in a place of its own."""

    def __init__(self, state: BrokerState, anchor: StateAnchor) -> None:
        self._state, self._anchor = state, anchor
        self._open = {
            _kind(one): _Open(one.place, one.further) for one in state.all(CountRecord) if one.further is not None
        }

    def add(self, decision: Decision, at: int) -> None:
        """Count a decision that gets no entry of its own."""
        kind = kind_of(decision)
        if kind not in self._open and len(self._open) >= KINDS_KEPT:
            kind = replace(kind, subjects=_NOTHING)
        known = self._open.get(kind)
        if known is None:
            self._open[kind] = _Open(self._free_place(), Further(count=1, first=at, last=at))
        else:
            before = known.further
            self._open[kind] = _Open(
                known.place, Further(count=before.count + 1, first=before.first, last=max(before.last, at))
            )
        self._state.enclose(_record(kind, self._open[kind].place, self._open[kind].further))

    def write(self, at: int, *, all_of_them: bool = False) -> None:
        """Enter the kinds whose window is over, or all; as many as there is room for."""
        due = [kind for kind, one in self._open.items() if all_of_them or at >= one.further.first + WINDOW_SECONDS]
        for kind in due:
            if not self._anchor.has_room:
                return
            one = self._open.pop(kind)
            self._state.enclose(_record(kind, one.place, None))
            self._state.commit(replace(kind, further=one.further), at)
            self._anchor.follow(self._state.log.head)

    def _free_place(self) -> int:
        taken = {one.place for one in self._open.values()}
        return next(place for place in itertools.count() if place not in taken)


def _record(kind: Decision, place: int, further: Further | None) -> CountRecord:
    return CountRecord(place=place, decision=kind.name, code=kind.code, subjects=kind.subjects, further=further)


def _kind(record: CountRecord) -> Decision:
    return Decision(record.decision, record.subjects, record.code)
