"""The end of a broker's life in one enclave: it hands its state to a broker of another build (side: enclave).

Nothing but this opens sealed state to other code. The heir gets it after these checks, in this order; each raises:

  (1) this broker is neither frozen nor rewound, and no machine of its own is revoked; the challenge is its own, of this
      boot, and is spent by this call;
  (2) as many release keys as a release needs, of those that *this* broker is measured with, have signed the heir's
      release, and have not revoked it;
  (3) the heir's quote answers the challenge, is authentic, binds its fresh wrapping key, and is the `broker` of that
      release, not in debug, on a machine that is not revoked (`verifier`); no document of its collateral is older than
      one seen before;
  (4) its platform is as strong as this one, and its security version (ISVSVN) is not lower;
  (5) nobody else is the heir already;
  (6) the terms of every party whose keys are here accept it (`handover_terms`), or the host says that the other keys
      are to be left behind.

Then the handover is written down, in log and state, and from then on this broker releases nothing, not even after a
restart: its witnesses know a head that names the heir. The state leaves when they have confirmed that head.

A handover may be asked for again, by the same heir: what was lost on the way is given anew. Another heir gets it only
from a later boot, whose head a quorum of witnesses confirmed: then no heir before it was ever confirmed, nor can be
(a witness follows one log; ARCHITECTURE, decision 7), so a build that does not start is not the end of the data.
"""

from dataclasses import dataclass
from typing import Final

from common.crypto.digests import sha256
from common.dcap import QuoteClaims, SgxClaims, require_trust_level
from common.dcap.completion import complete_evidence
from common.dcap.quote_format import parse_quote
from common.enclave.trust_settings import require_release
from common.errors import AppraisalError, ConflictError
from common.identifiers import JobId, RoleName
from common.messages.decision_log import LogSubjects
from common.messages.handover import HEIR_SUBJECT, GiveHandover, HandoverOffer
from services.attestation.challenges import Challenges
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.handover_terms import Successor, require_nothing_stays
from services.attestation.records import HandoverRecord
from services.attestation.verifier import verify_launch

_ROLE: Final = RoleName("broker")
_NO_JOB: Final = JobId("job_" + "0" * 32)
_ANY_DATA: Final = bytes(64)


@dataclass(frozen=True)
class Agreed:
    """An heir to which this broker has handed over, and what was verified of it just now."""

    record: HandoverRecord
    successor: Successor


class Handover:
    """The giver's side in one boot. Its challenges are apart from those of launches."""

    def __init__(self, broker: BrokerContext) -> None:
        self._broker, self._challenges = broker, Challenges()

    def offer(self, at: int) -> HandoverOffer:
        """A nonce for an heir. Raises `UnavailableError` or `FreshnessError` while frozen (1)."""
        self._broker.anchor.require_thawed()  # (1)
        epoch = self._broker.state.log.epoch
        challenge = self._challenges.issue(_NO_JOB, _ROLE, 0, attempt=epoch, subject=HEIR_SUBJECT, at=at)
        return HandoverOffer(
            challenge_id=challenge.challenge_id,
            nonce=challenge.nonce,
            genesis=self._broker.genesis,
            epoch=epoch,
            not_after=challenge.not_after,
        )

    def agree(self, body: GiveHandover, at: int) -> Agreed:
        """Checks (1) to (6), then the handover is a fact. Raises the refusal of the first that fails."""
        broker, settings = self._broker, self._broker.platform.trust_settings
        broker.anchor.require_thawed()  # (1)
        broker.require_own_machine()  # (1)
        challenge = self._challenges.spend(body.challenge_id, at)  # (1)
        release = require_release(body.release, settings)  # (2)
        broker.require_in_force(body.release.digest)  # (2)
        claims = verify_launch(  # (3)
            complete_evidence(body.evidence, body.collateral),
            body.binding,
            challenge,
            broker=broker.broker,
            trust=settings,
            release=release,
            rules=broker.platform_rules,
            at=at,
            require_not_older=broker.collateral.require_not_older,
        )
        if body.binding.signing_public != broker.signing_key.party:  # (3)
            raise AppraisalError("appraisal.binding", expected="an heir of this broker")
        require_trust_level(claims.trust_level, broker.platform.trust_level)  # (4)
        self._require_no_downgrade(claims)  # (4)
        record = HandoverRecord(
            epoch=broker.state.log.epoch,
            wrapping_public=body.binding.wrapping_public,
            measurement=claims.measurement,
            release=body.release.digest,
        )
        agreed = Agreed(record, Successor(body.release.digest, claims, broker.inventory, at))
        if self._is_heir_already(record):  # (5)
            return agreed
        if not body.leave_behind:
            require_nothing_stays(broker, agreed.successor)  # (6)
        subjects = LogSubjects(
            release=record.release,
            measurement=broker.platform.measurement,
            heir=record.measurement,
            evidence=sha256(body.evidence.quote),
        )
        broker.state.commit(Decision("handover", subjects), at, record)
        return agreed

    def _require_no_downgrade(self, claims: QuoteClaims) -> None:
        """The heir's ISVSVN is not lower than our own; a trust domain has none, and changes the platform."""
        own = parse_quote(self._broker.platform.evidence(_ANY_DATA).quote).isv_svn
        seen = claims.isv_svn if isinstance(claims, SgxClaims) else None
        if own is not None and (seen is None or seen < own):
            raise AppraisalError("appraisal.downgrade", expected=f"security version {own} or later", seen=seen)

    def _is_heir_already(self, record: HandoverRecord) -> bool:
        """Whether the handover to this very heir is a fact. Raises `ConflictError` when it is one to another."""
        known, anchor = self._broker.handed_over, self._broker.anchor
        if known is None:
            return False
        if known.wrapping_public == record.wrapping_public:
            return True
        if not anchor.witnessed or self._broker.state.log.epoch == known.epoch:  # (5)
            raise ConflictError("conflict.handed_over", expected=f"the heir that measures {known.measurement}")
        return False
