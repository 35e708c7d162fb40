"""A broker's state on its way from one enclave to the next (side: enclave).

It is a chain of sealed state like any other (`state`), under a key that is born for it and wrapped to the heir's quoted
key. Each record's keys are opened and sealed again, one at a time; of a record whose party does not accept the heir
they are left out, and the record says so (`stayed`). A running job among them is cancelled.

The broker's signing key and its log go along, so it stays the broker that parties have pinned. Its wrapping key does
not: the host has kept everything that was ever wrapped to it, and whoever held it could open keys that stay behind.
The heir goes on with the key that it was born with.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from common.crypto.keys import KeyRing, SecretKey
from common.crypto.wrapping import WrappingKey, wrap_ring
from common.errors import AuthenticityError
from common.key_binding import handover_info
from common.messages.broker_identity import Succession
from common.messages.handover import HandoverPackage
from services.attestation.context import BrokerContext
from services.attestation.handover import Agreed
from services.attestation.handover_terms import goes_along
from services.attestation.records import KEYED, HandoverRecord, IdentityRecord, JobRecord, KeyedRecord, Record
from services.attestation.state import BrokerState, Restored, StateKeys, StateStore, restore

_STATE_KEY: Final = "state"


def pack(broker: BrokerContext, agreed: Agreed, store: StateStore) -> HandoverPackage:
    """Store the state for the heir, as of now, under a fresh key; that key for the heir alone."""
    key = SecretKey.generate()
    keys, heir = StateKeys(key), agreed.record.wrapping_public
    records = {record.key: record for record in _packed(broker, agreed, keys)}
    state = broker.state
    restored = Restored(_identity(broker, agreed, keys), state.log, state.time, records, dict(state.roots))
    store.replace(0, (), BrokerState(store, keys, restored).snapshot())
    info = handover_info(broker.broker, heir)
    return HandoverPackage(
        genesis=broker.genesis, epoch=state.log.epoch, key=wrap_ring(KeyRing({_STATE_KEY: key}), heir, info)
    )


def unpack(package: HandoverPackage, store: StateStore, heir: WrappingKey, own: StateKeys) -> Restored:
    """The state, its keys sealed under the heir's own sealing key.

    Raises `AuthenticityError` for a package to another heir (authenticity.wrapped_key), or for blobs that are not
    exactly those that were packed (authenticity.sealed_state).
    """
    ring = heir.open_ring(package.key, handover_info(package.genesis.digest, heir.public))
    keys = StateKeys(ring[_STATE_KEY])
    restored = restore(store, keys)
    if restored is None or restored.identity.genesis != package.genesis:
        raise AuthenticityError("authenticity.sealed_state", expected="the state of the broker that gave it")
    records = {name: _resealed(record, keys, own) for name, record in restored.records.items()}
    identity = restored.identity.model_copy(
        update={
            "signing_seed": own.seal_seed("signing", keys.open_seed("signing", restored.identity.signing_seed)),
            "wrapping_seed": own.seal_seed("wrapping", heir.seed_for_sealing()),
        }
    )
    return replace(restored, identity=identity, records=records)


def _identity(broker: BrokerContext, agreed: Agreed, keys: StateKeys) -> IdentityRecord:
    before = broker.state.identity.succession
    return IdentityRecord(
        genesis=broker.genesis,
        signing_seed=keys.seal_seed("signing", broker.signing_key.seed_for_sealing()),
        wrapping_seed=b"",
        succession=Succession(
            handovers=1 if before is None else before.handovers + 1,
            wrapping_public=agreed.record.wrapping_public,
            predecessor=broker.platform.measurement,
            release=agreed.record.release,
            machines=() if before is None else before.machines,
        ),
    )


def _packed(broker: BrokerContext, agreed: Agreed, keys: StateKeys) -> Iterator[Record]:
    for record in broker.state.records:
        if isinstance(record, HandoverRecord):
            continue
        if not isinstance(record, KEYED) or record.keys is None:
            yield record
        elif goes_along(broker, record, agreed.successor):
            yield _resealed(record, broker.state.keys, keys)
        else:
            yield _left_behind(record)


def _resealed(record: Record, old: StateKeys, new: StateKeys) -> Record:
    if not isinstance(record, KEYED) or record.keys is None:
        return record
    ring = old.open_ring(record.key, record.keys)
    return record.model_copy(update={"keys": new.seal_ring(record.key, **ring)})


def _left_behind(record: KeyedRecord) -> Record:
    cancelled = {"state": "cancelled"} if isinstance(record, JobRecord) and record.state == "running" else {}
    return record.model_copy(update={"keys": None, "stayed": True} | cancelled)
