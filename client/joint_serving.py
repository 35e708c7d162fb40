"""Names that stand for models of several owners: each owner signs the record, as a joint order (side: owner).

One owner of the models drafts the next record of a name of its own and signs it; the file goes from owner to owner;
whoever holds all signatures brings it to the broker, which wants every owner's (services/attestation/serving, 3).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from client import events as e
from client import joint_events as j
from client.broker import BrokerLink
from client.context import Party
from client.joint import known_model, stored
from client.policy_changes import joined
from client.serving import bring, promoted, rolled_back, told_of
from common.errors import ConflictError, PolicyError
from common.identifiers import ModelId, PartyKey
from common.messages.serving import ServingName, ServingRecord
from common.messages.signed import Signed, countersign, open_signed, sign


def draft_promotion(
    party: Party, name: ServingName, model_id: ModelId, canary_permille: int, destination: Path
) -> Iterator[e.Event]:
    """Sign the record of a promotion, and write it to a new file. Ends with `JointlySigned`.

    Raises what `client.serving.promote` does, and `ConflictError` (conflict.order_file) where there is a file.
    """
    yield _drafted(party, promoted(party, BrokerLink(party), name, model_id, canary_permille), destination)


def draft_roll_back(party: Party, name: ServingName, destination: Path) -> Iterator[e.Event]:
    """As `draft_promotion`, of what `client.serving.roll_back` says."""
    yield _drafted(party, rolled_back(party, BrokerLink(party), name), destination)


def agree_name(party: Party, file: Path, destination: Path) -> Iterator[e.Event]:
    """Say what a name shall stand for, and sign that as one of the models' owners. Ends with `JointlySigned`.

    In this order, each raises: (1) the name's owner signed this very text; (2) it is for the broker that is pinned
    here; (3) each of its models was seen sealed here (`owner watch`), and ordered by this identity, too.
    """
    signed = Signed.decode(file.read_bytes())
    record = open_signed(signed, ServingRecord, [ServingRecord.decode(signed.payload).served.owner])  # (1)
    if record.broker != party.trust.broker.signing_public:  # (2)
        raise PolicyError("policy.broker", expected=party.trust.broker.signing_public, seen=record.broker)
    own, told = party.identity.signing_key.party, told_of(record)
    owners = _owners(party, record)  # (3)
    if own not in owners:
        raise PolicyError("policy.signer", expected=f"models of {own}", seen=sorted(owners))
    yield j.JointName(
        owner=record.served.owner,
        name=told.name,
        number=told.number,
        current=told.current,
        previous=told.previous,
        canary=told.canary,
        canary_permille=told.canary_permille,
    )
    yield stored(countersign(signed, party.identity.signing_key), owners, destination)


def submit_name(party: Party, copies: Sequence[Path]) -> Iterator[e.Event]:
    """Bring a record with the signatures of all its copies to the broker. Ends with `ServingSigned`."""
    signed = joined([Signed.decode(path.read_bytes()) for path in copies])
    yield bring(party, BrokerLink(party), signed)


def _drafted(party: Party, record: ServingRecord, destination: Path) -> j.JointlySigned:
    if destination.exists():
        raise ConflictError("conflict.order_file", expected="a new file", seen=destination)
    return stored(sign(record, party.identity.signing_key), _owners(party, record), destination)


def _owners(party: Party, record: ServingRecord) -> tuple[PartyKey, ...]:
    """Of all models of the record, in the order in which they are named."""
    named = [known_model(party, one.model_id, one.manifest)[1] for one in record.models]
    return tuple(dict.fromkeys(owner for owners in named for owner in owners))
