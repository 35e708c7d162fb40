"""What the owner does with training data: seal, upload, allow, delete (side: owner).

Only ciphertext, signed documents and wrapped keys leave this machine. Before a key is wrapped, the key broker's quote
is verified here against what was pinned (`client.broker`). The data key is bound to the manifest (hence to every byte),
to this owner, to policy version 1 and to that broker: nobody can register the ciphertext under terms of his own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client import events as e
from client.broker import BrokerLink
from client.context import Party
from client.identity import make_known
from client.objects import require_intact
from client.plain_arrays import UNREADABLE
from client.platforms import terms_over
from client.policy_changes import next_policy, send_policy
from client.policy_terms import NOBODY, PolicyTerms, keep_policy, sign_policy, wrap_policy
from client.revoking import end
from client.sealing import seal_pieces
from client.services import IngestService
from client.uploading import upload_object
from common.crypto import KeyRing
from common.crypto.wrapping import wrap_ring
from common.dataset_payload import encode_pieces
from common.errors import ConflictError, FormatError
from common.identifiers import DatasetId, PartyKey
from common.key_binding import data_key_info
from common.messages.objects import DatasetManifest, ObjectRef
from common.messages.policy import DataPolicy
from common.messages.registration import RegisterDataset, Registered
from common.messages.signed import Signed, sign
from common.sealed_object import ObjectKind

DATA_KEY = "data"
"""Name of the key in the ring that is wrapped to the broker (RegisterDataset)."""


@dataclass(frozen=True)
class Quorum:
    """Who must agree to a policy beside its owner: `approvals_needed` of `approvers`."""

    approvers: tuple[PartyKey, ...] = ()
    approvals_needed: int = 0


NO_QUORUM: Final = Quorum()


def seal(party: Party, source: Path, directory: Path) -> Iterator[e.Event]:
    """Seal the columns of an NPZ file, or of a directory with a file NAME.npy for each (one row per example).

    Those of a directory are mapped, not loaded: they may be larger than memory. Ends with `Sealed`.
    Raises `FormatError` (format.dataset) for anything but plain arrays of one length.
    """
    try:
        columns = _mapped(source) if source.is_dir() else _loaded(source)
    except (*UNREADABLE, AttributeError, TypeError) as cause:
        raise FormatError("format.dataset", expected="NPZ or NPY files of plain arrays", seen=source.name) from cause
    yield from seal_pieces(party, lambda: encode_pieces(columns), ObjectKind.DATASET, directory)


def _loaded(source: Path) -> dict[str, NDArray[Any]]:
    with np.load(source, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _mapped(source: Path) -> dict[str, NDArray[Any]]:
    return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(source.glob("*.npy"))}


def upload(party: Party, directory: Path, quorum: Quorum = NO_QUORUM) -> Iterator[e.Event]:
    """Upload a sealed object and register it as a data set that nobody may use yet. Ends with `DatasetRegistered`.

    Version 1 of its policy binds the `quorum` without which no later version counts. May be repeated after an
    interruption: what is there already is not sent again, and the manifest is the same.
    """
    reference = require_intact(directory)
    sent = 0
    for event in upload_object(IngestService.of(party), directory, reference):
        sent = event.bytes_sent
        yield event
    policy = _first_policy(party, reference, quorum)
    manifest = _manifest(party, reference, policy)
    link = BrokerLink(party, IngestService.of(party).register_dataset)
    yield link.verify(*terms_over(party, DatasetId.of(manifest.digest)))
    make_known(party)
    ring = KeyRing({DATA_KEY: party.object_key(reference.root)})
    broker, own = party.trust.broker, party.identity.signing_key.party
    data_key = wrap_ring(ring, party.broker_key, data_key_info(manifest.digest, own, policy.digest, broker.digest))
    body = RegisterDataset(manifest=manifest, policy=wrap_policy(party, policy), data_key=data_key)
    link.ask(body, Registered)
    dataset_id = DatasetId.of(manifest.digest)
    keep_policy(party, dataset_id, policy)
    yield e.DatasetRegistered(dataset_id=dataset_id, policy=policy.digest, bytes_sent=sent)


def _first_policy(party: Party, reference: ObjectRef, quorum: Quorum) -> Signed:
    """Policy version 1 of this object: signed once, so that an upload that is repeated names the same data set.

    Raises `ConflictError` for another quorum than it has bound.
    """
    stored, own = party.document("policies", reference.root), party.identity.signing_key.party
    if stored is None or DataPolicy.decode(stored.payload).owner != own:
        terms = {"approvers": quorum.approvers, "approvals_needed": quorum.approvals_needed}
        stored = sign_policy(party, NOBODY.model_copy(update=terms))
        party.keep_document("policies", reference.root, stored)
    bound = DataPolicy.decode(stored.payload)
    if quorum not in {NO_QUORUM, Quorum(bound.approvers, bound.approvals_needed)}:
        raise ConflictError(
            "conflict.registered", expected=f"{bound.approvals_needed} of {bound.approvers}", seen=quorum
        )
    return stored


def _manifest(party: Party, reference: ObjectRef, policy: Signed) -> Signed:
    owner = party.identity.signing_key
    return sign(DatasetManifest(owner=owner.party, parts=(reference,), policy=policy.digest), owner)


def set_policy(party: Party, dataset_id: DatasetId, terms: PolicyTerms) -> Iterator[e.Event]:
    """Sign the next version of a data set's policy and bring it to the broker. Ends with `PolicySigned`.

    `releases` empty means the pinned one. Raises `NotFoundError` for a data set of another directory.
    """
    yield from send_policy(party, dataset_id, next_policy(party, dataset_id, terms))


def delete(party: Party, dataset_id: DatasetId) -> Iterator[e.Event]:
    """Revoke a data set: the broker destroys its key, the operator is asked to delete the ciphertext.

    Ends with `Ended`. What was trained on it stays.
    """
    link = BrokerLink(party)
    yield link.verify_to_end()
    ending = end(party, link, "dataset", dataset_id)
    IngestService.of(party).delete_dataset(dataset_id)
    yield ending.proven(dataset_id, "deleted")
