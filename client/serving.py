"""Names under which an owner serves models: promotion, canary, roll-back; and what a user reads of them (side: owner).

A name stands for what the newest signed record says, which the key broker keeps (services/attestation/serving). Each
record follows the one before by its number, so of two that are signed beside each other one is refused. A record is
believed with its owners' signatures alone; that it is the newest, the broker says over a fresh nonce, guarded by its
witnesses, and the newest number that was seen here.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

from client.broker import BrokerLink
from client.context import Party
from client.events import Event, Noted, ServingSigned
from client.http_client import ServiceClient
from common.errors import AppraisalError, ConflictError, FreshnessError, NotFoundError, UnavailableError
from common.identifiers import ModelId
from common.messages.policy import QueryGrant
from common.messages.serving import (
    ReadServing,
    ServedModel,
    ServedName,
    ServingName,
    ServingRecord,
    ServingShown,
    SetServing,
)
from common.messages.signed import Signed, open_signed, read_document, sign

WARM_SECONDS: Final = 120.0
"""How long a model that is promoted may take to be placed."""

_LOOK_SECONDS: Final = 0.5


def served_by(party: Party, name: ServingName) -> ServedName:
    """A name of this owner's."""
    return ServedName(owner=party.identity.signing_key.party, name=name)


def promote(
    party: Party, name: ServingName, model_id: ModelId, canary_permille: int = 0, *, warm: bool = True
) -> Iterator[Event]:
    """Let a name stand for a model from now on, or try it by a share of sessions. Ends with `ServingSigned`.

    What was current goes on answering who asked it. The model is `warm` before anybody is sent to it: else they wait
    for its start. Raises `NotFoundError` (not_found.model) for a model that was not seen sealed here, `ConflictError`
    (conflict.serving) for the one that is current, or for a share of a name that stands for nothing, and
    `UnavailableError` where no worker places it.
    """
    link = BrokerLink(party)
    record = promoted(party, link, name, model_id, canary_permille)
    if warm:
        yield Noted(text=f"Waiting until a worker has placed {model_id}.")
        _await_placed(party, model_id)
    yield bring(party, link, sign(record, party.identity.signing_key))


def roll_back(party: Party, name: ServingName) -> Iterator[Event]:
    """End a canary; where there is none, let the name stand for what it stood for before. Ends with `ServingSigned`.

    What is left so answers no more by grants for the name. Raises `ConflictError` (conflict.serving) where nothing was
    before, `NotFoundError` (not_found.serving) for a name that stands for nothing.
    """
    link = BrokerLink(party)
    yield bring(party, link, sign(rolled_back(party, link, name), party.identity.signing_key))


def promoted(
    party: Party, link: BrokerLink, name: ServingName, model_id: ModelId, canary_permille: int
) -> ServingRecord:
    """The name's next record, unsigned: this model in place of the current one, or tried beside it."""
    manifest = party.document("models", model_id)
    if manifest is None:
        raise NotFoundError("not_found.model", expected="a model that `cloister owner watch` has seen sealed")
    served = served_by(party, name)
    newest = _newest(party, link, served)
    model = ServedModel(model_id=model_id, manifest=manifest.digest)
    return _next(party, served, newest, _promoted(newest, model, canary_permille))


def rolled_back(party: Party, link: BrokerLink, name: ServingName) -> ServingRecord:
    """The name's next record, unsigned: without the canary, or with the model before in place of the current one."""
    served = served_by(party, name)
    newest = read_record(party, served, link)
    if newest.canary is not None:
        changes = {"current": newest.current, "previous": newest.previous}
    elif newest.previous is not None:
        changes = {"current": newest.previous, "previous": None}
    else:
        raise ConflictError("conflict.serving", expected="a version before", seen=newest.current.model_id)
    return _next(party, served, newest, changes)


def bring(party: Party, link: BrokerLink, signed: Signed) -> ServingSigned:
    """Have the broker take a signed record; what the name stands for now."""
    shown = link.ask(SetServing(record=signed), ServingShown).record
    record = read_document(signed, ServingRecord)
    _keep(party, shown, record)
    return told_of(record)


def services(party: Party) -> Iterator[Event]:
    """What each name of this owner's stands for: one `ServingSigned` for each that was signed from this directory."""
    link = BrokerLink(party)
    for known in party.documents("servings"):
        document = party.document("servings", known)
        if document is not None:
            served = ServingRecord.decode(document.payload).served
            if served.owner in party.own_keys:
                yield told_of(read_record(party, served, link))


def read_record(party: Party, served: ServedName, link: BrokerLink | None = None) -> ServingRecord:
    """The newest record of a name of one's own. Raises as `granted_record`."""
    return _read(party, served, list(party.own_keys), link or BrokerLink(party))


def granted_record(party: Party, grant: Signed) -> ServingRecord:
    """The newest record of the name that a grant is for, signed by all who signed the grant.

    Raises `NotFoundError` (not_found.serving), `AuthenticityError` (authenticity.signature), `AppraisalError`
    (appraisal.placement) for one of another name or broker, `FreshnessError` (freshness.serving) for one that is older
    than this user has seen, and what `BrokerLink.ask` raises.
    """
    terms = QueryGrant.decode(grant.payload)
    if terms.served is None:
        raise RuntimeError("only a grant for a name has a record")
    return _read(party, terms.served, [one.signer for one in grant.signatures], BrokerLink(party), all_sign=True)


def _read(
    party: Party, served: ServedName, signers: list[Any], link: BrokerLink, *, all_sign: bool = False
) -> ServingRecord:
    shown = link.ask(ReadServing(served=served), ServingShown).record
    record = open_signed(shown, ServingRecord, signers, threshold=len(set(signers)) if all_sign else 1)
    here = (served, party.trust.broker.signing_public)
    if (record.served, record.broker) != here:
        raise AppraisalError("appraisal.placement", expected=here, seen=(record.served, record.broker))
    _keep(party, shown, record)
    return record


def _keep(party: Party, shown: Signed, record: ServingRecord) -> None:
    """Remember the newest; an older one than that is a broker's that went back."""
    name = f"{record.served.name}.{record.served.owner}"
    known = party.document("servings", name)
    if known is not None and known.digest != shown.digest:
        seen = ServingRecord.decode(known.payload)
        if seen.broker == record.broker and seen.number >= record.number:
            raise FreshnessError("freshness.serving", expected=f"a record above {seen.number}", seen=record.number)
    party.keep_document("servings", name, shown)


def _newest(party: Party, link: BrokerLink, served: ServedName) -> ServingRecord | None:
    try:
        return read_record(party, served, link)
    except NotFoundError:
        return None


def _promoted(newest: ServingRecord | None, model: ServedModel, canary_permille: int) -> dict[str, Any]:
    if newest is None:
        if canary_permille:
            raise ConflictError(
                "conflict.serving", expected="a name that stands for a model", seen="a share of nothing"
            )
        return {"current": model}
    if newest.current == model:
        raise ConflictError("conflict.serving", expected="a model that is not current", seen=model.model_id)
    if not canary_permille:
        return {"current": model, "previous": newest.current}
    previous = None if newest.previous == model else newest.previous
    canary = {"canary": model, "canary_permille": canary_permille}
    return {"current": newest.current, "previous": previous, **canary}


def _next(party: Party, served: ServedName, newest: ServingRecord | None, changes: dict[str, Any]) -> ServingRecord:
    return ServingRecord(
        served=served if newest is None else newest.served,
        number=1 if newest is None else newest.number + 1,
        broker=party.trust.broker.signing_public,
        created=int(time.time()),
        **changes,
    )


def told_of(record: ServingRecord) -> ServingSigned:
    """What a name stands for by this record."""
    return ServingSigned(
        name=record.served.name,
        number=record.number,
        current=record.current.model_id,
        previous=None if record.previous is None else record.previous.model_id,
        canary=None if record.canary is None else record.canary.model_id,
        canary_permille=record.canary_permille,
    )


def _await_placed(party: Party, model_id: ModelId) -> None:
    """Ask for the model until a worker has placed it: that makes one do so."""
    front, until = ServiceClient(party.endpoints.query, party.identity.signing_key), time.monotonic() + WARM_SECONDS
    while True:
        try:
            front.get(f"/v1/models/{model_id}/proof")
        except UnavailableError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return
