"""Why requests of others were refused under a party's terms, kept for that party (side: enclave).

An enclave that asks for keys, for a longer lease or for answers is asked for by a host, so what its refusal expected
and saw would reach nobody whom it concerns. Hence: of each refusal that enters the decision log (`refusal_log`) and
whose details belong to somebody, its reader finds them here. Readers are the parties whose terms were judged, each its
own reason or that it has none, and the release keys together, of what no party's terms but a release or the inventory
refused. Orders that somebody else brought are found so, too.

Of each reader the newest `REASONS_KEPT` stay, in records of one size that go round, so a host that makes refusals
without end makes no other party lose any, and the broker's state no larger. What made room is counted, and so is what
never was kept because the log only counted it. The latter is written with the next decision, whichever it is: a broker
that dies before has forgotten as many.

Read by nobody else: the request is signed by the party, or by a release key, and the answer sealed to the key that it
names, at one size.
"""

from collections.abc import Collection, Iterator
from typing import Final

from common.crypto.wrapping import wrap
from common.errors import PolicyError, Refusal
from common.key_binding import reasons_info
from common.messages.reasons import (
    REASON_BYTES,
    REASONS_BYTES,
    REASONS_KEPT,
    ReadReasons,
    ReasonsReply,
    ReasonsRequest,
    RefusalReason,
    RefusalReasons,
)
from common.messages.refusal_detail import RefusalDetail
from common.messages.signed import open_signed
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.entitlement import EntitledRefusal
from services.attestation.records import ReasonRecord, Record, TallyRecord, reason_key

RELEASE_KEYS: Final = "release-keys"
"""The reader's name that all release keys share."""


def kept_reasons(broker: BrokerContext, cause: EntitledRefusal | None, decision: Decision, at: int) -> Iterator[Record]:
    """What is to be committed with a refusal that enters the log as this decision, at time `at`."""
    subjects, code = decision.subjects, decision.code or ""
    for reader, refusal in _readers(broker, cause, decision).items():
        counted = broker.state.tally_after(_kept(reader), 1)
        reason = RefusalReason(
            entry=broker.state.log.size,
            time=max(at, broker.state.time),
            decision=decision.name,
            code=code,
            job=subjects.job,
            role=subjects.role,
            slot=subjects.slot,
            attempt=subjects.attempt,
            grant=subjects.grant,
            detail=RefusalDetail.of(refusal, code),
        )
        yield counted
        place = (counted.count - 1) % REASONS_KEPT
        yield ReasonRecord(reader=reader, place=place, reason=reason.encode().ljust(REASON_BYTES))


def count_unkept(broker: BrokerContext, cause: EntitledRefusal | None, decision: Decision) -> None:
    """Count a refusal that the log only counts, for each of its readers."""
    for reader in _readers(broker, cause, decision):
        name = _unkept(reader)
        before = broker.state.find_enclosed(TallyRecord, name)
        broker.state.enclose(TallyRecord(name=name, count=1 if before is None else before.count + 1))


def read_reasons(broker: BrokerContext, body: ReadReasons, _at: int) -> ReasonsReply:
    """A party's own reasons, by whichever of its keys they came about.

    Raises `AuthenticityError`, or `PolicyError`: policy.identity, policy.broker, policy.release_key.
    """
    party = ReasonsRequest.decode(body.request.payload).party
    broker.parties.require_in_force(party)
    request = open_signed(body.request, ReasonsRequest, [party])
    if request.broker != broker.signing_key.party:
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=request.broker)
    release_keys = broker.platform.trust_settings.release_keys
    if request.of_release and party not in release_keys:
        raise PolicyError("policy.release_key", expected=f"one of {sorted(release_keys)}", seen=party)
    told = _told(broker, [RELEASE_KEYS] if request.of_release else broker.parties.names(party))
    plain = told.encode().ljust(REASONS_BYTES)
    return ReasonsReply(sealed=wrap(plain, request.report_key, reasons_info(body.request.digest, party)))


def _told(broker: BrokerContext, readers: Collection[str]) -> RefusalReasons:
    state = broker.state
    places = (reason_key(reader, place) for reader in readers for place in range(REASONS_KEPT))
    records = (state.find(ReasonRecord, key) for key in places)
    found = sorted((one.read() for one in records if one is not None), key=lambda reason: reason.entry)[-REASONS_KEPT:]
    unkept = (state.find_enclosed(TallyRecord, _unkept(reader)) for reader in readers)
    return RefusalReasons(
        reasons=tuple(found),
        dropped=sum(state.tally(_kept(reader)) for reader in readers) - len(found),
        unkept=sum(one.count for one in unkept if one is not None),
    )


def _readers(broker: BrokerContext, cause: EntitledRefusal | None, decision: Decision) -> dict[str, Refusal | None]:
    """Each reader's own refusal, or None. A party reads under the key that it has now.

    Terms name whom they like: what was refused is kept for none but parties whom the decision concerns.
    """
    found: dict[str, Refusal | None] = {}
    if cause is None:
        return found
    for told in cause.told:
        reader = broker.parties.holder(told.party)
        if reader in decision.subjects.parties:
            found[reader] = found.get(reader) or told.refusal
    if cause.of_release:
        found[RELEASE_KEYS] = cause.refusal
    return found


def _kept(reader: str) -> str:
    return f"reasons {reader}"


def _unkept(reader: str) -> str:
    return f"unkept-reasons {reader}"
