"""Identities become known, and their recovery keys end them: for good, or in favour of another (side: enclave).

An identity is bound to its card at its first appearance here: by the card itself, or, when it comes with a data set or
bundle first, without one, and then it has no recovery key and gets none. A thief of the identity's key can change
neither. A recovery statement is taken after these checks, in this order; each raises:

  (1) the party is known here, with a recovery key, and that key signed the statement; so did the successor, if any;
  (2) it is for this broker;
  (3) the party is in force, or revoked and now replaced; the very same statement again is answered alike, an older one
      is refused;
  (4) the successor's card is its own, does not contradict what is known of it, and the successor is in force.

From then on the old key signs nothing: no policy, order, grant, revocation, approval or request. What it signed before
that stands, or not, as the statement says:

    revoked                  all things of the party stand still: no admission, no renewal, no answers
    replaced, all stands     the successor's word counts for them; jobs run on, grants have to be signed anew
    replaced, void from N    besides, what the broker decided in entry N or later on the old key's word counts no more:
                             policies fall back to the version before, running jobs end, data sets and bundles are
                             revoked; models stay, under grants that the successor has to sign

What was revoked, spent or handed out meanwhile is not undone.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from common.errors import AuthenticityError, ConflictError, FormatError, FreshnessError, NotFoundError, PolicyError
from common.identifiers import DatasetId, PartyKey
from common.messages.decision_log import LogSubjects
from common.messages.identity import BindIdentity, IdentityBound, IdentityCard, RecoverIdentity, RecoveryStatement
from common.messages.revocation import Revoked
from common.messages.signed import Signed, open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.lease_table import leases_end
from services.attestation.party_records import (
    MAX_PREDECESSORS,
    AcceptedRecord,
    PartyRecord,
    RecoveryKeyRecord,
    accepted_key,
)
from services.attestation.records import DatasetRecord, Record
from services.attestation.revocation import commit_endings
from services.attestation.versions import accepted
from services.attestation.void_words import jobs_of, void_words

DATASETS_AT_ONCE: Final = 64
"""As many as an entry of the log names (common/messages/decision_log)."""


def bind_identity(broker: BrokerContext, body: BindIdentity, at: int) -> IdentityBound:
    """Know this identity by its card. Raises `ConflictError` (conflict.identity_card) if it is known otherwise."""
    card = _open_card(broker, body.card)
    known = broker.parties.find(card.party)
    if known is None:
        records = _card_records(broker, body.card, card)
        subjects = LogSubjects(parties=(card.party,), signers=(card.party,), document=body.card.digest)
        broker.state.commit(Decision("bind-identity", subjects), at, *records)
    return IdentityBound(party=card.party, recovery=card.recovery)


def first_appearance(broker: BrokerContext, party: PartyKey) -> list[Record]:
    """The record of an identity that comes with a thing of its own before it came with its card."""
    return [] if broker.parties.find(party) is not None else [PartyRecord(party=party, card=None)]


def require_known_alike(
    broker: BrokerContext, party: PartyKey, holder: PartyKey, card: Signed | None
) -> Sequence[Record]:
    """What another broker knew of an identity, by whom it was held and by which card, is known here or becomes so.

    Raises `PolicyError` (policy.identity) for an identity that is over, or that `holder` replaced there and not here,
    `ConflictError` (conflict.identity_card) for another card, or what `_open_card` raises.
    """
    broker.parties.require_held(party)
    if holder not in broker.parties.names(party):
        raise PolicyError("policy.identity", expected=f"a statement for this broker: {holder} replaced it", seen=party)
    if card is None:
        return first_appearance(broker, holder)
    known = broker.parties.find(holder)
    if known is None:
        opened = _open_card(broker, card)
        if opened.party == holder:
            return _card_records(broker, card, opened)
    elif known.card is not None and known.card.digest == card.digest:
        return []
    raise ConflictError("conflict.identity_card", expected="the card by which the other broker knew this identity")


def recover_identity(broker: BrokerContext, body: RecoverIdentity, at: int) -> Revoked:
    """Checks (1) to (4), then the end of the old key.

    Raises `NotFoundError`, `AuthenticityError` (1), `PolicyError` (2, 4), `FreshnessError` (3) or `ConflictError` (4).
    """
    signed = body.statement
    unverified = RecoveryStatement.decode(signed.payload)
    record = broker.parties.find(unverified.party)
    if record is None or record.recovery is None:
        raise NotFoundError("not_found.recovery_key", expected="an identity with a recovery key", seen=unverified.party)
    card = None if unverified.successor is None else IdentityCard.decode(unverified.successor.payload)
    signers = [record.recovery] if card is None else [record.recovery, card.party]
    statement = open_signed(signed, RecoveryStatement, signers, threshold=len(signers))  # (1)
    if statement.broker != broker.signing_key.party:  # (2)
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=statement.broker)
    if record.statement is not None and record.statement.digest == signed.digest:  # (3)
        changes: list[Record] = []
    elif record.state == "replaced" or (record.state == "revoked" and statement.successor is None):
        raise FreshnessError("freshness.identity", expected="an identity that is not over yet", seen=record.state)
    else:
        changes = _new_state(broker, record, signed, statement)  # (4)
    changes += void_words(broker, signed, statement)
    ends = [leases_end(job, at) for job in jobs_of(broker, record.party)]
    _commit(broker, _subjects(statement, signed, card), at, _datasets_of(broker, record.party), changes)
    return Revoked(identifier=record.party, leases_end=max(ends, default=at))


def _datasets_of(broker: BrokerContext, party: PartyKey) -> list[DatasetId]:
    names = broker.parties.names(party)
    return [data.dataset_id for data in broker.state.all(DatasetRecord) if data.manifest.owner in names]


def _commit(
    broker: BrokerContext, subjects: LogSubjects, at: int, datasets: Sequence[DatasetId], changes: Sequence[Record]
) -> None:
    """The entries name all data sets of the party: packages from before them are old (`recovery_packages`).

    Those that do not go into the entries of the changes are named after them. If the broker dies there, the same
    statement again names them.
    """
    rest, named = range(DATASETS_AT_ONCE, len(datasets), DATASETS_AT_ONCE), f"datasets {subjects.document}"

    def naming(first: int) -> Decision:
        some = tuple(datasets[first : first + DATASETS_AT_ONCE])
        return Decision("recover-identity", subjects.model_copy(update={"datasets": some}))

    commit_endings(broker, naming(0), at, changes)
    if broker.state.find(AcceptedRecord, accepted_key(named)) is None:
        for first in rest:
            broker.state.commit(naming(first), at, *([accepted(broker, named)] if first == rest[-1] else []))


def _new_state(
    broker: BrokerContext, record: PartyRecord, signed: Signed, statement: RecoveryStatement
) -> list[Record]:
    """What becomes of the identity and of its successor."""
    if statement.successor is None:
        return [record.model_copy(update={"state": "revoked", "statement": signed})]
    card = _open_card(broker, statement.successor)
    if card.party == record.party:
        raise FormatError("format.message", expected="a successor with a key of its own")
    new, *others = _card_records(broker, statement.successor, card)
    held = broker.parties.find(card.party) or new
    if not isinstance(held, PartyRecord):
        raise TypeError(type(held))
    predecessors = (*held.predecessors, *record.predecessors, record.party)
    if len(predecessors) > MAX_PREDECESSORS:
        raise ConflictError("conflict.identity_card", expected=f"at most {MAX_PREDECESSORS} identities before this one")
    replaced = {"state": "replaced", "successor": card.party, "statement": signed}
    return [record.model_copy(update=replaced), held.model_copy(update={"predecessors": predecessors}), *others]


def _open_card(broker: BrokerContext, signed: Signed) -> IdentityCard:
    """A card that its party and its recovery key signed, and that is the one which is known of the party, if any is.

    If a card could name any key, whoever comes first could make another's identity a recovery key, which signs nothing.
    """
    unverified = IdentityCard.decode(signed.payload)
    party, recovery = unverified.party, unverified.recovery
    broker.parties.require_in_force(party)
    signers = {party} if recovery is None else {party, recovery}
    card = open_signed(signed, IdentityCard, signers, threshold=len(signers))
    if card.unsafe_simulation and broker.platform.trust_settings.production:
        raise PolicyError("policy.trust_level", expected="an identity for production", seen="unsafe_simulation")
    known = broker.parties.find(party)
    if known is not None and (known.card is None or known.card.digest != signed.digest):
        raise ConflictError("conflict.identity_card", expected="the card by which this identity became known")
    return card


def _card_records(broker: BrokerContext, signed: Signed, card: IdentityCard) -> Sequence[Record]:
    if card.recovery is None:
        return [PartyRecord(party=card.party, card=signed)]
    if broker.parties.find(card.recovery) is not None:
        raise AuthenticityError("authenticity.signature", expected="a recovery key that is nobody's identity")
    return [PartyRecord(party=card.party, card=signed), RecoveryKeyRecord(recovery=card.recovery)]


def _subjects(statement: RecoveryStatement, signed: Signed, card: IdentityCard | None) -> LogSubjects:
    """The old identity and the new one may read that one ended, and by which statement."""
    return LogSubjects(parties=tuple(_both(statement, card)), document=signed.digest)


def _both(statement: RecoveryStatement, card: IdentityCard | None) -> Iterator[PartyKey]:
    yield statement.party
    if card is not None:
        yield card.party
