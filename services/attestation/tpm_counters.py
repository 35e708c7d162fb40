"""A TPM's counter as a witness: nobody's memory, but a number that nobody can set back (side: enclave).

The host steps the counter for a head of this log and brings the proof (common/tpm/steps). For each value at most one
head of all logs gets one. `position` is how far this broker can account for the counter; it lies in the sealed state,
written with the next decision, and a new broker has it from its genesis. In this order, each raises:

  (1) the TPM is one of the genesis record and holds the attestation key, shown anew in each boot (`meet`);
  (2) the step is that TPM's, for this broker, value and head;
  (3) the head is one of this log;
  (4) between `position` and the step lies at most one value without a step of ours, and the log did not shrink.

A head is confirmed when the counter went two values on, without a gap: one step for that head, the next for it or a
later one. So a broker of an older state, or beside another, finds two values in a row that it cannot account for, and
is refused for good. A single one is forgiven: the power may fail after the TPM has counted and before the proof is
stored, and on one value alone nobody was released anything. Two brokers that take turns are both forgiven for ever, and
neither gets two values without a gap.
"""

from common.crypto.tpm_keys import Activations, make_credential
from common.errors import AuthenticityError, FreshnessError
from common.identifiers import Digest
from common.messages.broker_identity import Genesis
from common.messages.tpm_counter import ConfirmByCounter, CounterStep, MeetTpm, TpmChallenge, TpmCounter
from common.tpm.layouts import AttestationKey, EndorsementKey, name_of
from common.tpm.steps import step_purpose, verify_step
from services.attestation.records import TallyRecord
from services.attestation.state import BrokerState
from services.attestation.state_anchor import StateAnchor


class TpmCounters:
    """All counters of the genesis record, by their TPM's endorsement key."""

    def __init__(self, genesis: Genesis, state: BrokerState) -> None:
        self._broker, self._state = genesis.digest, state
        self._pinned = {one.endorsement_key: one for one in genesis.tpm_counters}
        self._activations = Activations()
        self._last: dict[Digest, CounterStep] = {}

    def meet(self, body: MeetTpm) -> TpmChallenge:
        """A secret that only this pinned TPM, with this attestation key in it, can read: step (1)."""
        endorsement, key = EndorsementKey.parse(body.endorsement_key), AttestationKey.parse(body.attestation_key)
        self._require_pinned(endorsement.digest)
        activation = self._activations.secret(endorsement.name, key.name)
        credential, secret = make_credential(endorsement.x, endorsement.y, key.name, activation)
        return TpmChallenge(credential=credential, secret=secret)

    def confirm(self, body: ConfirmByCounter, anchor: StateAnchor) -> None:
        """Take steps of a counter, up to one that is refused. Those that are accounted for say nothing new."""
        counter = self._require_pinned(body.endorsement_key)
        key = AttestationKey.parse(body.attestation_key)
        self._activations.require(body.activation, name_of(counter.endorsement_key), key.name)  # (1)
        for step in body.steps:
            purpose = step_purpose(self._broker, step.size, step.root)
            verify_step(key, counter.index, step.value, purpose, step.attested, step.signature)  # (2)
            if step.value >= self.position(counter):
                self._take(counter, step, anchor)

    def position(self, counter: TpmCounter) -> int:
        """How far this log accounts for the counter."""
        last = self._last.get(counter.endorsement_key)
        kept = max(counter.value, self._state.tally(_tally_of(counter)))
        return kept if last is None else max(kept, last.value + 1)

    def _take(self, counter: TpmCounter, step: CounterStep, anchor: StateAnchor) -> None:
        witness, before = counter.endorsement_key, self._last.get(counter.endorsement_key)
        try:
            self._require_ours(self.position(counter), before, step)
        except FreshnessError:
            anchor.object(witness)
            raise
        self._state.enclose(TallyRecord(name=_tally_of(counter), count=step.value + 1))
        self._last[witness] = step
        if before is not None and before.value + 1 == step.value:
            anchor.take(witness, before.size)

    def _require_ours(self, position: int, before: CounterStep | None, step: CounterStep) -> None:
        if self._state.roots.get(step.size) != step.root:  # (3)
            raise FreshnessError("freshness.state", expected=f"size {step.size}", seen="another log or an earlier one")
        if step.value > position + 1:  # (4)
            seen = f"a step from {step.value}: two or more before it were not for this log"
            raise FreshnessError("freshness.state", expected=f"a step from {position}", seen=seen)
        if before is not None and step.size < before.size:
            raise FreshnessError("freshness.state", expected=f"size {before.size} or more", seen=f"size {step.size}")

    def _require_pinned(self, endorsement_key: Digest) -> TpmCounter:
        pinned = self._pinned.get(endorsement_key)
        if pinned is None:
            raise AuthenticityError("authenticity.tpm", expected="a TPM of the genesis record", seen=endorsement_key)
        return pinned


def _tally_of(counter: TpmCounter) -> str:
    return f"counter {counter.endorsement_key}"
