"""Which refusals enter the decision log, so that nobody can flood it (side: enclave).

An entry is made of a refusal only if all of this holds; every other one is counted, and the count stands in each signed
tree head of this epoch:

  (1) its reason is one of the parties' terms, of evidence, of authenticity or of freshness: what is malformed, unknown
      or not available at the moment is no decision about anybody's things;
  (2) the broker is not frozen: while it is, nothing is decided, so that the log that its witnesses are asked to confirm
      stands still, and no refusal ever thaws anything;
  (3) at most `ROOM` decisions are unconfirmed, a quarter of what the broker may run ahead of its witnesses, so that
      refusals alone can never freeze it;
  (4) it can be attributed (`attribution`): a stranger writes nothing;
  (5) the same was not entered before in this epoch, and of one job (without a job: of one signer) and code at most
      `REFUSALS_KEPT` were: a host that replays, or a party that tries without end, is seen and then counted.

Bounds are numbers of entries, not of seconds: time is the host's.
"""

from typing import Final

from common.messages.decision_log import LogSubjects
from services.attestation.attribution import Attribution
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.state_anchor import UNCONFIRMED_LIMIT

REFUSALS_KEPT: Final = 8
ROOM: Final = UNCONFIRMED_LIMIT // 4
_ENTERED: Final = frozenset({"authenticity", "freshness", "appraisal", "policy", "conflict", "confinement"})


class RefusalLog:
    """The refusals of this epoch. What it remembers ends with it: the next start has bounds of its own."""

    def __init__(self, broker: BrokerContext) -> None:
        self._broker = broker
        self._entered: dict[tuple[str, str], set[LogSubjects]] = {}
        self.counted = 0

    def note(self, request: Attribution | None, code: str, at: int) -> None:
        """Enter a refusal into the log, or count it."""
        decision = self._entry(request, code)
        if decision is None:
            self.counted += 1
        else:
            self._broker.state.commit(decision, at)

    def _entry(self, request: Attribution | None, code: str) -> Decision | None:
        anchor = self._broker.anchor
        if request is None or code.split(".", 1)[0] not in _ENTERED:  # (1)
            return None
        if anchor.frozen or (anchor.witnessed and anchor.unconfirmed >= ROOM):  # (2), (3)
            return None
        decision = request.decision(code)  # (4)
        return decision if decision is not None and self._is_new(decision, code) else None  # (5)

    def _is_new(self, decision: Decision, code: str) -> bool:
        subjects = decision.subjects
        alike = subjects.model_copy(update={"evidence": None, "launch": None, "attempt": None})
        entered = self._entered.setdefault((subjects.job or subjects.signers[0], code), set())
        if alike in entered or len(entered) >= REFUSALS_KEPT:
            return False
        entered.add(alike)
        return True
