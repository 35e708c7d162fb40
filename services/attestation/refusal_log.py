"""Which refusals enter the decision log one by one, so that nobody can flood it (side: enclave).

An entry is made of a refusal only if all of this holds; every other one is counted, each kind by itself, and one entry
then tells of all of that kind (`open_counts`). How many there were stands in each signed tree head of this epoch:

  (1) its reason is one of the parties' terms, of evidence, of authenticity or of freshness: what is malformed, unknown
      or not available at the moment is no decision about anybody's things;
  (2) the broker is not frozen: while it is, nothing is decided, so that the log that its witnesses are asked to confirm
      stands still, and no refusal ever thaws anything;
  (3) there is room: at most a quarter of what the broker may run ahead of its witnesses is unconfirmed, so that
      refusals alone can never freeze it;
  (4) it can be attributed (`attribution`): what strangers try is told by number alone;
  (5) the same was not entered before in this epoch, and of one job (without a job: of one signer), decision and code
      at most `REFUSALS_KEPT` were: a host that replays, or a party that tries without end, is seen and then counted.
      One whose quote brought newer collateral is entered all the same, with what is to be remembered of it
      (`collateral`): documents that Intel signed do not get newer without end. Where (3) forbids it the next decision
      carries that.

These bounds are numbers of entries, not of seconds: time is the host's.
"""

from typing import Final

from common.messages.decision_log import LogSubjects
from services.attestation.attribution import Attribution
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import EntitledRefusal
from services.attestation.reasons import count_unkept, kept_reasons

REFUSALS_KEPT: Final = 8
_ENTERED: Final = frozenset({"authenticity", "freshness", "appraisal", "policy", "conflict", "confinement"})


class RefusalLog:
    """The refusals of this epoch. What it remembers ends with it: the next start has bounds of its own."""

    def __init__(self, broker: BrokerContext) -> None:
        self._broker = broker
        self._entered: dict[tuple[str, str, str], set[LogSubjects]] = {}
        self.counted = 0

    def note(self, request: Attribution | None, code: str, at: int, cause: EntitledRefusal | None = None) -> None:
        """Enter a refusal into the log, with what its readers are told of it (`reasons`), or count it."""
        decision = self._attributed(request, code)
        if decision is not None and self._has_room(decision, code):
            self._broker.state.commit(decision, at, *kept_reasons(self._broker, cause, decision, at))
            return
        self.counted += 1
        self._broker.counts.add(decision or Decision("other-request", code=code), at)
        if decision is not None:
            count_unkept(self._broker, cause, decision)

    def _attributed(self, request: Attribution | None, code: str) -> Decision | None:
        if request is None or code.split(".", 1)[0] not in _ENTERED or self._broker.anchor.frozen:  # (1), (2)
            return None
        return request.decision(code)  # (4)

    def _has_room(self, decision: Decision, code: str) -> bool:
        if not self._broker.anchor.has_room:  # (3)
            return False
        return self._is_new(decision, code) or self._broker.collateral.has_newer  # (5)

    def _is_new(self, decision: Decision, code: str) -> bool:
        subjects = decision.subjects
        alike = subjects.model_copy(update={"evidence": None, "launch": None, "attempt": None})
        entered = self._entered.setdefault((decision.name, subjects.job or subjects.signers[0], code), set())
        if alike in entered or len(entered) >= REFUSALS_KEPT:
            return False
        entered.add(alike)
        return True
