"""Letting a user ask a model, or whichever a name stands for (side: owner).

A grant names the model's manifest, so it is for exactly the model that this owner's order made; or a name of this
owner's, whose records say which models that are (client/serving). It is a signed document that the owner hands to the
user; the query enclave shows it to the broker, which counts its answers.
"""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from client.broker import BrokerLink
from client.context import Party
from client.events import Event, GrantSigned
from client.policy_terms import SECONDS_PER_DAY
from client.revoking import end
from client.serving import read_record
from common.errors import ConflictError, NotFoundError, PolicyError, refusal_of
from common.identifiers import Digest, GrantId, ModelId, PartyKey
from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.jobs import ListMembers, Members
from common.messages.objects import ModelManifest
from common.messages.policy import QueryGrant
from common.messages.serving import ServedName
from common.messages.signed import Signed, sign


@dataclass(frozen=True)
class GrantTerms:
    """How much a user may ask: one answer for each row. `detail`: the label alone, or scores within `bounds`."""

    answers: int
    days: int = 30
    detail: Literal["label", "scores"] = "scores"
    bounds: AnswerBounds = NO_ANSWER_BOUNDS


def grant(
    party: Party, user: PartyKey, asked: ModelId | ServedName, terms: GrantTerms, destination: Path
) -> Iterator[Event]:
    """Sign a grant for a model or a name of this owner and write it to a new file. Ends with `GrantSigned`.

    Raises `NotFoundError` (not_found.model) unless the model's manifest was verified here before (`owner watch`),
    `NotFoundError` (not_found.serving) for a name that stands for nothing yet, `ConflictError` (conflict.grant_file)
    where there is a file, `PolicyError` (policy.revoked) for a revoked model.
    """
    if destination.exists():
        raise ConflictError("conflict.grant_file", expected="a new file", seen=destination)
    model_id, manifest, served = _named(party, asked)
    trust = party.trust
    signed = sign(
        QueryGrant(
            nonce=secrets.token_bytes(16),
            user=user,
            model_id=model_id,
            manifest=manifest,
            served=served,
            broker=trust.broker.signing_public,
            release=trust.release.digest,
            answers=terms.answers,
            detail=terms.detail,
            answer_bounds=terms.bounds,
            not_after=int(time.time()) + terms.days * SECONDS_PER_DAY,
        ),
        party.identity.signing_key,
    )
    party.keep_document("grants", GrantId.of(signed.digest), signed)
    with destination.open("xb") as file:
        file.write(signed.encode())
    yield GrantSigned(
        grant_id=GrantId.of(signed.digest),
        user=user,
        model_id=model_id,
        name=None if served is None else served.name,
        answers=terms.answers,
        path=str(destination),
    )


def _named(party: Party, asked: ModelId | ServedName) -> tuple[ModelId | None, Digest | None, ServedName | None]:
    if isinstance(asked, ServedName):
        return None, None, read_record(party, asked).served
    manifest = party.document("models", asked)
    if manifest is None:
        raise NotFoundError("not_found.model", expected="a model that `cloister owner watch` has seen sealed")
    _require_kept(party, manifest)
    return asked, manifest.digest, None


def _require_kept(party: Party, manifest: Signed) -> None:
    """The broker still has the model's key: else the grant would be for nothing, and its user the first to learn it."""
    job_id = ModelManifest.decode(manifest.payload).job_id
    if BrokerLink(party).ask(ListMembers(job_id=job_id), Members).model_revoked:
        raise PolicyError("policy.revoked", expected="a model that was not revoked", seen=job_id)


def revoke(party: Party, grant_id: GrantId) -> Iterator[Event]:
    """End a grant: the broker hands out no more answers under it. Ends with `Ended`.

    What a query enclave has drawn before can be asked until the broker's `leases_end`. Raises `NotFoundError`
    (not_found.grant) for a grant that was not signed from this identity directory.
    """
    if party.document("grants", grant_id) is None:
        raise refusal_of("not_found.grant", expected="a grant of this identity directory", seen=grant_id)
    link = BrokerLink(party)
    yield link.verify_to_end()
    yield end(party, link, "grant", grant_id).proven(grant_id, "revoked")
