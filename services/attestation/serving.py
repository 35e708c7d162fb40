"""Which models answer under an owner's name: records, and grants by them (side: enclave; ARCHITECTURE, decision 50).

A record is taken by these checks, in this order; each raises:

  (1) the identity that holds its owner's key signed it, for this broker;
  (2) each model that it names was made here, has the manifest that it names, and its key was not destroyed;
  (3) every owner of those models' data signed it, and the name's owner is one of them for each;
  (4) its number is one more than the newest record's of that name; the newest itself again is answered alike;
  (5) a new name is one of at most `MAX_NAMES` of its owner.

A grant for a name holds for a model while the newest record names it. What the parties' terms say of the model itself
is asked as of any grant (`budget`): a record widens nobody's terms.
"""

from typing import Final

from common.errors import FreshnessError, NotFoundError, PolicyError, QuotaError
from common.identifiers import ModelId
from common.messages.decision_log import LogSubjects
from common.messages.serving import ReadServing, ServedModel, ServedName, ServingRecord, ServingShown, SetServing
from common.messages.signed import Signed, read_document
from services.attestation.context import BrokerContext, require_keys
from services.attestation.decision_log import Decision
from services.attestation.records import JobRecord, ModelRecord, ServedNameRecord, served_name_key

MAX_NAMES: Final = 256
"""Of an owner: a name is never forgotten, and each stands in the broker's state for good."""


def set_serving(broker: BrokerContext, body: SetServing, at: int) -> ServingShown:
    """Take the next record of a name, by checks (1) to (5).

    Raises `AuthenticityError` or `FormatError` (1, 3), `PolicyError` (policy.broker, policy.signer, policy.revoked),
    `NotFoundError` (not_found.model), `FreshnessError` (freshness.serving) or `QuotaError` (quota.names).
    """
    served = ServingRecord.decode(body.record.payload).served
    record = broker.parties.open_word(body.record, ServingRecord, [served.owner])  # (1)
    if record.broker != broker.signing_key.party:
        raise PolicyError("policy.broker", expected=broker.signing_key.party, seen=record.broker)
    jobs = [_require_made(broker, one) for one in record.models]  # (2)
    _require_owned(broker, body.record, record, jobs)  # (3)
    newest = _newest(broker, served)
    if newest is not None and newest.document.digest == body.record.digest:
        return ServingShown(record=newest.document)
    number = 1 if newest is None else newest.record.number + 1
    if record.number != number:  # (4)
        raise FreshnessError("freshness.serving", expected=f"record {number} of {served.name}", seen=record.number)
    if newest is None:
        _require_room(broker, served)  # (5)
    subjects = subjects_of(broker, body.record)
    broker.state.commit(Decision("set-serving", subjects), at, ServedNameRecord(served=served, document=body.record))
    return ServingShown(record=body.record)


def read_serving(broker: BrokerContext, body: ReadServing, _at: int) -> ServingShown:
    """The newest record of a name. Raises `NotFoundError` (not_found.serving)."""
    newest = _newest(broker, body.served)
    if newest is None:
        raise NotFoundError("not_found.serving", seen=body.served.name)
    return ServingShown(record=newest.document)


def require_served(broker: BrokerContext, served: ServedName, model_id: ModelId) -> None:
    """The newest record of that name names this model. Raises `PolicyError` (policy.serving)."""
    newest = _newest(broker, served)
    named = () if newest is None else tuple(one.model_id for one in newest.record.models)
    if model_id not in named:
        raise PolicyError("policy.serving", expected=f"one of {list(named)} under {served.name}", seen=model_id)


def subjects_of(broker: BrokerContext, document: Signed) -> LogSubjects:
    """What the log says of a record: its owner and signers, and the model that is current by it."""
    record = read_document(document, ServingRecord)
    signers = tuple(sorted(broker.parties.holders([one.signer for one in document.signatures])))
    return LogSubjects(parties=signers, signers=signers, document=document.digest, model=record.current.model_id)


def _newest(broker: BrokerContext, served: ServedName) -> ServedNameRecord | None:
    return broker.state.find(ServedNameRecord, served_name_key(served))


def _require_room(broker: BrokerContext, served: ServedName) -> None:
    if sum(one.served.owner == served.owner for one in broker.state.all(ServedNameRecord)) >= MAX_NAMES:
        raise QuotaError("quota.names", expected=f"at most {MAX_NAMES} names of one owner")


def _require_made(broker: BrokerContext, named: ServedModel) -> JobRecord:
    model = broker.state.find(ModelRecord, named.model_id)
    job = None if model is None else broker.job(model.job_id)
    if job is None or job.manifest_document is None or job.manifest_document.digest != named.manifest:
        raise NotFoundError("not_found.model", expected="a model that was sealed", seen=named.model_id)
    require_keys(job)
    return job


def _require_owned(broker: BrokerContext, document: Signed, record: ServingRecord, jobs: list[JobRecord]) -> None:
    owner = broker.parties.holder(record.served.owner)
    for job in jobs:
        owners = broker.parties.holders(job.order.owners)
        if owner not in owners:
            raise PolicyError("policy.signer", expected=sorted(owners), seen=owner)
        broker.parties.open_word(document, ServingRecord, owners)
