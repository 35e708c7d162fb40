"""The broker's word that something is over, kept to be shown later, to anybody, without network (side: verifier).

Pure: a proof and a broker's key in; what it proves out, or an exception. In this order:

  (1) the broker's key has signed the reply, and it answers a request with this very document;
  (2) the reply says that this is over;
  (3) the entry is the one to which the leaf in its place commits, and says the same of the same document;
  (4) that leaf is in the log under the head of the reply (RFC 9162 section 2.1.3).

What is *not* checked: that the log goes on from this head. A log that was fetched later has the entry in the same
place, or it was rewound (`audit verify`, `audit show`). Whose signature the document bears, the broker has checked.
"""

from dataclasses import dataclass
from typing import Literal

from common.broker_channel import open_reply
from common.crypto.merkle import leaf_hash
from common.crypto.merkle_proofs import verify_inclusion
from common.errors import AuthenticityError, FormatError
from common.identifiers import Digest, PartyKey
from common.messages.base import Message
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.decision_log import InclusionProof, LogItem
from common.messages.policy import Revocation
from common.messages.registration import BundleRetired, RetireBundle
from common.messages.revocation import Revoke, Revoked
from common.messages.signed import Signed
from common.transparency import open_entry

Decided = Literal["revoke", "retire-bundle"]


class EndingProof(Message):
    """That the broker ended something: what it was asked, what it said, and the entry of its log about that.

    `document` is the revocation or retirement as it was sent, `reply` the broker's signed reply to it.
    """

    type: Literal["ending-proof"] = "ending-proof"
    version: Literal[1] = 1
    document: Signed
    reply: Signed
    item: LogItem
    inclusion: InclusionProof


@dataclass(frozen=True)
class ProvenEnding:
    """What a proof proves. `leases_end` is None for a retirement, which ends no lease."""

    identifier: str
    decided: Decided
    log_entry: int
    leases_end: int | None


def verify_ending(proof: EndingProof, broker: PartyKey) -> ProvenEnding:
    """Make all four checks. Raises `AuthenticityError` or `FormatError`."""
    nonce = BrokerReply.decode(proof.reply.payload).nonce
    request = BrokerRequest(nonce=nonce, body=_asked(proof.document)).encode()
    reply = open_reply(proof.reply.encode(), request, broker)  # (1)
    head, body = reply.head, reply.body
    match body:  # (2)
        case Revoked():
            ended = ProvenEnding(body.identifier, "revoke", proof.inclusion.number, body.leases_end)
            document = proof.document.digest
        case BundleRetired():
            ended, document = ProvenEnding(body.bundle_id, "retire-bundle", proof.inclusion.number, None), body.document
        case _:
            raise AuthenticityError("authenticity.log", expected="a reply that ends something", seen=body.type)
    require_about(proof.item, ended.log_entry, document, ended.decided)  # (3)
    verify_inclusion(leaf_hash(proof.item.leaf), ended.log_entry, head.size, head.root, proof.inclusion.path)  # (4)
    return ended


def require_about(item: LogItem, number: int, document: Digest, decided: Decided) -> None:
    """Raise `AuthenticityError` (authenticity.log) unless this leaf's entry says that the document was followed."""
    if not is_about(item, number, document, decided):
        raise AuthenticityError("authenticity.log", expected=f"an entry about {document}", seen=f"entry {number}")


def is_about(item: LogItem, number: int, document: Digest, decided: Decided) -> bool:
    """Whether the entry is told and says so. Raises `AuthenticityError` (authenticity.log) if its leaf is another's."""
    if item.entry is None:
        return False
    entry = open_entry(item.entry, item.leaf, number)
    return entry.decision == decided and entry.outcome != "refused" and entry.subjects.document == document


def _asked(document: Signed) -> Revoke | RetireBundle:
    try:
        Revocation.decode(document.payload)
    except FormatError:
        return RetireBundle(retirement=document)
    return Revoke(revocation=document)
