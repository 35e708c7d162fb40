"""A party ends something of its own, and sees it in the broker's log (side: owner).

The broker's reply is signed in its enclave, over the log's head. Then, in this order; each raises:

  (1) the host shows the entry of this very document, as the leaf in its place commits to it (common/transparency);
  (2) that leaf is in the log under the head of the reply (RFC 9162 section 2.1.3).

Document, reply, entry and path are kept in the identity directory, so that the party can show them later
(`ending_proof`).
"""

import secrets
import time
from dataclasses import dataclass
from typing import Literal, Protocol

from client.broker import BrokerLink
from client.context import Party
from client.ending_proof import Decided, EndingProof, is_about
from client.events import Ended
from client.http_client import ServiceClient
from common.crypto.merkle import leaf_hash
from common.crypto.merkle_proofs import verify_inclusion
from common.errors import AuthenticityError
from common.identifiers import BundleId, Digest, Identifier
from common.messages.decision_log import InclusionProof, LogItem, LogPage
from common.messages.log_heads import LogHead
from common.messages.policy import BundleRetirement, Revocation
from common.messages.registration import BundleRetired, RetireBundle
from common.messages.revocation import Revoke, Revoked
from common.messages.signed import Signed, sign

Target = Literal["dataset", "bundle", "grant", "job"]


class LogService(Protocol):
    """The decision log over HTTP."""

    def get(self, path: str) -> bytes:
        """The body of a successful answer."""


@dataclass(frozen=True)
class Ending:
    """What the broker said of a revocation or retirement. It holds, whether its host shows the log or not."""

    party: Party
    sent: Signed
    document: Digest
    first: int
    reply: Signed
    head: LogHead
    leases_end: int | None
    decided: Decided = "revoke"

    def proven(self, identifier: str, state: str) -> Ended:
        """The last event of an operation that ended something. Raises `AuthenticityError` (1, 2: authenticity.log)."""
        proof = self.proof(ServiceClient(self.party.endpoints.attestation, self.party.identity.signing_key))
        kept = self.party.keep_proof(identifier, proof)
        number = proof.inclusion.number
        return Ended(identifier=identifier, state=state, leases_end=self.leases_end, log_entry=number, proof=str(kept))

    def proof(self, service: LogService) -> EndingProof:
        """What shows it to others. Raises as `proven` does."""
        item, inclusion = logged_entry(service, self.document, self.first, self.head, self.decided)
        return EndingProof(document=self.sent, reply=self.reply, item=item, inclusion=inclusion)


def end(party: Party, link: BrokerLink, target: Target, identifier: Identifier) -> Ending:
    """Revoke at the pinned broker. Raises its refusal.

    The revocation is kept before it is sent: an answer may get lost, or be withheld while witnesses are away, and what
    is repeated then has to be the very document that the log's entry is about.
    """
    kept = _kept_revocation(party, identifier)
    first, document = (0, kept) if kept is not None else (_log_size(party), revocation_of(party, target, identifier))
    party.keep_document("revocations", identifier, document)
    revoked = link.ask(Revoke(revocation=document), Revoked)
    return Ending(party, document, document.digest, first, link.signed_reply, _newest_head(party), revoked.leases_end)


def _kept_revocation(party: Party, identifier: Identifier) -> Signed | None:
    """The one that was sent to this broker before, if any."""
    kept, own = party.document("revocations", identifier), party.identity.signing_key.party
    if kept is None:
        return None
    said = Revocation.decode(kept.payload)
    return kept if (said.broker, said.party) == (party.trust.broker.signing_public, own) else None


def retire(party: Party, link: BrokerLink, bundle_id: BundleId) -> Ending:
    """Retire a bundle at the pinned broker. Raises its refusal. If it was retired before, that entry is the proof."""
    key = party.identity.signing_key
    retirement = BundleRetirement(
        nonce=secrets.token_bytes(16),
        party=key.party,
        bundle=bundle_id,
        broker=party.trust.broker.signing_public,
        created=int(time.time()),
    )
    first, document = _log_size(party), sign(retirement, key)
    counts = link.ask(RetireBundle(retirement=document), BundleRetired).document
    first = first if counts == document.digest else 0
    return Ending(party, document, counts, first, link.signed_reply, _newest_head(party), None, "retire-bundle")


def _log_size(party: Party) -> int:
    return 0 if party.log_head is None else party.log_head.size


def _newest_head(party: Party) -> LogHead:
    if party.log_head is None:
        raise RuntimeError("an answer has a head")
    return party.log_head


def revocation_of(party: Party, target: Target, identifier: Identifier) -> Signed:
    """The signed revocation, for the pinned broker alone."""
    key = party.identity.signing_key
    return sign(
        Revocation(
            nonce=secrets.token_bytes(16),
            party=key.party,
            target=target,
            identifier=identifier,
            broker=party.trust.broker.signing_public,
            created=int(time.time()),
        ),
        key,
    )


def logged_entry(
    service: LogService, document: Digest, first: int, head: LogHead, decided: Decided = "revoke"
) -> tuple[LogItem, InclusionProof]:
    """The entry that revokes (or retires) by this document, from entry `first` on, in its place: checks (1) and (2).

    Raises `AuthenticityError` (authenticity.log).
    """
    number = first
    while number < head.size:
        page = LogPage.decode(service.get(f"/v1/log/entries?first={number}"))
        if page.first != number or not page.items:
            break
        for item in page.items:
            if is_about(item, number, document, decided):  # (1)
                asked = f"/v1/log/inclusion?number={number}&size={head.size}"
                path = InclusionProof.decode(service.get(asked)).path
                verify_inclusion(leaf_hash(item.leaf), number, head.size, head.root, path)  # (2)
                return item, InclusionProof(number=number, size=head.size, path=path)
            number += 1
    raise AuthenticityError("authenticity.log", expected=f"an entry about {document}", seen=f"{head.size} others")
