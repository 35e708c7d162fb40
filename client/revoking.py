"""A party ends something of its own, and sees it in the broker's log (side: owner).

The broker's reply is signed in its enclave, over the log's head. Then, in this order; each raises:

  (1) the host shows the entry of this very revocation, as the leaf in its place commits to it (common/transparency);
  (2) that leaf is in the log under the head of the reply (RFC 9162 section 2.1.3).
"""

import secrets
import time
from dataclasses import dataclass
from typing import Literal, Protocol

from client.broker import BrokerLink
from client.context import Party
from client.events import Ended
from client.http_client import ServiceClient
from common.crypto.merkle import leaf_hash
from common.crypto.merkle_proofs import verify_inclusion
from common.errors import AuthenticityError
from common.identifiers import Digest, Identifier
from common.messages.attestation import LogHead, Revoke, Revoked
from common.messages.decision_log import InclusionProof, LogItem, LogPage
from common.messages.policy import Revocation
from common.messages.signed import Signed, sign
from common.transparency import open_entry

Target = Literal["dataset", "bundle", "grant", "job"]


class LogService(Protocol):
    """The decision log over HTTP."""

    def get(self, path: str) -> bytes:
        """The body of a successful answer."""


@dataclass(frozen=True)
class Ending:
    """What the broker said of a revocation. It holds, whether its host shows the log or not."""

    party: Party
    document: Digest
    first: int
    head: LogHead
    leases_end: int

    def proven(self, identifier: str, state: str) -> Ended:
        """The last event of an operation that ended something. Raises `AuthenticityError` (1, 2: authenticity.log)."""
        service = ServiceClient(self.party.endpoints.attestation, self.party.identity.signing_key)
        number = logged_entry(service, self.document, self.first, self.head)
        return Ended(identifier=identifier, state=state, leases_end=self.leases_end, log_entry=number)


def end(party: Party, link: BrokerLink, target: Target, identifier: Identifier) -> Ending:
    """Revoke at the pinned broker. Raises its refusal."""
    before, document = party.log_head, revocation_of(party, target, identifier)
    revoked = link.ask(Revoke(revocation=document), Revoked)
    head = party.log_head
    if head is None:
        raise RuntimeError("an answer has a head")
    return Ending(party, document.digest, 0 if before is None else before.size, head, revoked.leases_end)


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


def logged_entry(service: LogService, document: Digest, first: int, head: LogHead) -> int:
    """The number of the entry that revokes by this document, from entry `first` on: checks (1) and (2).

    Raises `AuthenticityError` (authenticity.log).
    """
    number = first
    while number < head.size:
        page = LogPage.decode(service.get(f"/v1/log/entries?first={number}"))
        if page.first != number or not page.items:
            break
        for item in page.items:
            if _is_about(item, number, document):  # (1)
                asked = f"/v1/log/inclusion?number={number}&size={head.size}"
                path = InclusionProof.decode(service.get(asked)).path
                verify_inclusion(leaf_hash(item.leaf), number, head.size, head.root, path)  # (2)
                return number
            number += 1
    raise AuthenticityError("authenticity.log", expected=f"an entry about {document}", seen=f"{head.size} others")


def _is_about(item: LogItem, number: int, document: Digest) -> bool:
    if item.entry is None:
        return False
    entry = open_entry(item.entry, item.leaf, number)
    return entry.decision == "revoke" and entry.outcome != "refused" and entry.subjects.document == document
