"""What several owners sign together: an order over the data of all, and grants of the model (side: owner).

One drafts and signs; the file goes from owner to owner, each of whom looks at what it says on its own machine and adds
its signature; whoever holds all of them submits. Nothing counts before: the broker wants every owner's signature, and
judges the order under everybody's policy. Each owner's data stay in trainers of their own (`deal_shards`).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from client import events as e
from client import joint_events as j
from client import ordering
from client.broker import BrokerLink
from client.context import Party
from client.platforms import terms_over
from client.policy_changes import joined
from client.policy_words import answer_words
from client.serving import read_record
from common.errors import ConflictError, FreshnessError, NotFoundError, PolicyError
from common.identifiers import DatasetId, Digest, GrantId, JobId, ModelId, PartyKey
from common.messages.objects import ModelManifest
from common.messages.order import TrainingOrder
from common.messages.policy import QueryGrant
from common.messages.signed import Signed, countersign, open_signed


@dataclass(frozen=True)
class Partner:
    """Another owner, and one of its data sets. `minimal_rounds`: which its trainers must have part in; None: as all."""

    dataset_id: DatasetId
    owner: PartyKey
    minimal_rounds: int | None = None


def draft(
    party: Party, training: ordering.Training, partners: Sequence[Partner], destination: Path
) -> Iterator[e.Event]:
    """Sign a joint order as the first of its owners, and write it to a new file. Ends with `JointlySigned`.

    The broker, to which the order's secret is wrapped, is verified as for one's own order. Raises what that raises,
    `ConflictError` (conflict.order_file) where there is a file, `FormatError` (format.message) for fewer trainers than
    owners. Chunks are read as this owner's data ask for; nobody sees how large another's are.
    """
    if destination.exists():
        raise ConflictError("conflict.order_file", expected="a new file", seen=destination)
    publication = ordering.fetch_publication(party, training.bundle_id)
    owners = {party.identity.signing_key.party, *(one.owner for one in partners)}
    own_slots = -(-training.trainers // len(owners))
    schedule, _ = yield from ordering.sized(party, training, publication, own_slots)
    named = [
        (training.dataset_id, party.identity.signing_key.party),
        *((one.dataset_id, one.owner) for one in partners),
    ]
    least = {one.owner: one.minimal_rounds for one in partners if one.minimal_rounds is not None}
    yield BrokerLink(party).verify(*terms_over(party, training.dataset_id))
    yield ordering.preview(party, training, schedule)
    signed = ordering.make_order(party, training, schedule, publication.sandbox, named, least)
    yield _told(signed, party)
    yield _written(party, signed, destination)


def agree(party: Party, file: Path, destination: Path) -> Iterator[e.Event]:
    """Say what a joint order says, and sign it as one of its owners. Ends with `JointlySigned`.

    In this order, each raises: (1) its drafter signed this very text; (2) it names this owner and at least one data set
    of this identity directory; (3) it is for the broker and release that are pinned here; (4) its time is not over;
    (5) it has one shard for each owner, and places no data set of this identity directory as another's.
    """
    signed = Signed.decode(file.read_bytes())
    unverified = TrainingOrder.decode(signed.payload)
    order = open_signed(signed, TrainingOrder, unverified.owners[:1])  # (1)
    own = party.identity.signing_key.party
    if own not in order.owners:  # (2)
        raise PolicyError("policy.signer", expected=f"an order of {own}", seen=sorted(order.owners))
    if not any(party.document("policies", one) is not None for one in order.datasets):
        raise NotFoundError("not_found.dataset", expected="a data set of this identity directory", seen=order.datasets)
    trust = party.trust
    if order.broker != trust.broker.signing_public:  # (3)
        raise PolicyError("policy.broker", expected=trust.broker.signing_public, seen=order.broker)
    if order.release != trust.release.digest:
        raise PolicyError("policy.release", expected=trust.release.digest, seen=order.release)
    if order.not_after < time.time():  # (4)
        raise FreshnessError("freshness.order", expected="an order that may still run", seen=order.not_after)
    ordering.fetch_publication(party, order.bundle)
    yield ordering.preview_of(party, order)
    yield _told(signed, party)
    yield _written(party, countersign(signed, party.identity.signing_key), destination)


def submit(party: Party, copies: Sequence[Path]) -> Iterator[e.Event]:
    """Bring a joint order with the signatures of all its copies to the broker. Ends with `OrderAccepted`."""
    signed = joined([Signed.decode(path.read_bytes()) for path in copies])
    order = open_signed(signed, TrainingOrder, TrainingOrder.decode(signed.payload).owners)
    missing = _missing(signed, order.owners)
    if missing:
        raise PolicyError("policy.signer", expected="the signature of every owner", seen=f"not of {list(missing)}")
    yield from ordering.submit(party, signed)


def agree_grant(party: Party, file: Path, destination: Path) -> Iterator[e.Event]:
    """Say what a grant of a joint model says, and sign it as one of the owners. Ends with `JointlySigned`.

    Of a name: the model is the one that it stands for now. Raises `NotFoundError` (not_found.model) unless the model's
    manifest was verified here before (`owner watch`), and `PolicyError` (policy.grant) for a grant that names another.
    """
    signed = Signed.decode(file.read_bytes())
    grant = open_signed(signed, QueryGrant, [one.signer for one in signed.signatures])
    manifest, owners = known_model(party, *_asked(party, grant))
    yield j.JointGrant(
        grant_id=GrantId.of(signed.digest),
        user=grant.user,
        model_id=ModelManifest.decode(manifest.payload).model_id,
        name=None if grant.served is None else grant.served.name,
        answers=grant.answers,
        detail=grant.detail,
        tells=answer_words(grant.detail, grant.answer_bounds),
        not_after=grant.not_after,
    )
    both = countersign(signed, party.identity.signing_key)
    party.keep_document("grants", GrantId.of(signed.digest), both)
    yield stored(both, owners, destination)


def _asked(party: Party, grant: QueryGrant) -> tuple[ModelId, Digest]:
    """Of a name: the model that is current, by the newest record that this owner signed, too."""
    if grant.model_id is not None and grant.manifest is not None:
        return grant.model_id, grant.manifest
    if grant.served is None:
        raise RuntimeError("a grant is for a model or a name")
    current = read_record(party, grant.served).current
    return current.model_id, current.manifest


def known_model(party: Party, model_id: ModelId, manifest: Digest) -> tuple[Signed, tuple[PartyKey, ...]]:
    """A model that was seen sealed here: its signed manifest, and the owners who ordered it.

    Raises `NotFoundError` (not_found.model) or, for another manifest, `PolicyError` (policy.grant).
    """
    known = party.document("models", model_id)
    if known is None:
        raise NotFoundError("not_found.model", expected="a model that `cloister owner watch` has seen sealed")
    if manifest != known.digest:
        raise PolicyError("policy.grant", expected=known.digest, seen=manifest)
    order = party.document("orders", ModelManifest.decode(known.payload).job_id)
    return known, () if order is None else TrainingOrder.decode(order.payload).owners


def _told(signed: Signed, party: Party) -> j.JointOrder:
    """What an order says. Whose a data set is, it says by its place alone, as its drafter placed it.

    The broker checks that every data set is one owner's, that no slot has data of two, and that all of them signed.
    Raises `PolicyError` (policy.shards) unless each owner has one shard, and no data set that is known here stands with
    another owner.
    """
    order = TrainingOrder.decode(signed.payload)
    publication = ordering.fetch_publication(party, order.bundle)
    shards = dict.fromkeys(order.all_shards)
    if len(shards) != len(order.owners):
        raise PolicyError("policy.shards", expected=f"{len(order.owners)} shards, one of each owner", seen=len(shards))
    parts = tuple(
        j.JointPart(
            owner=owner,
            datasets=shard,
            slots=tuple(slot for slot, of_slot in enumerate(order.all_shards) if of_slot == shard),
            minimal_rounds=least,
        )
        for owner, shard, least in zip(order.owners, shards, order.rounds_of_owners, strict=True)
    )
    own = party.identity.signing_key.party
    for part in parts:
        for dataset_id in part.datasets:
            if part.owner != own and party.document("policies", dataset_id) is not None:
                raise PolicyError("policy.shards", expected=f"{dataset_id} in slots of {own}", seen=part.owner)
    return j.JointOrder(
        job_id=JobId.of(signed.digest),
        bundle_id=order.bundle,
        provider=publication.provider,
        minimal_trainers=order.minimal_trainers,
        parts=parts,
    )


def _written(party: Party, signed: Signed, path: Path) -> j.JointlySigned:
    """Keep the order, so that its job can be watched, and write it."""
    party.keep_document("orders", JobId.of(signed.digest), signed)
    return stored(signed, TrainingOrder.decode(signed.payload).owners, path)


def stored(signed: Signed, owners: Sequence[PartyKey], path: Path) -> j.JointlySigned:
    """Write what was signed, and say which of the owners have not signed yet."""
    path.write_bytes(signed.encode())
    signers = tuple(one.signer for one in signed.signatures)
    return j.JointlySigned(digest=signed.digest, signers=signers, missing=_missing(signed, owners), path=str(path))


def _missing(signed: Signed, owners: Sequence[PartyKey]) -> tuple[PartyKey, ...]:
    signers = {one.signer for one in signed.signatures}
    return tuple(owner for owner in owners if owner not in signers)
