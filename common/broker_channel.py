"""One asker's conversation with the key broker: every answer is checked before it is believed (side: library).

The host carries questions and answers and may drop any of them. Of each answer, in this order:

  (1) it is signed by the broker's key;
  (2) it answers this very request: digest of its bytes and its fresh nonce;
  (3) its log head is not older than one seen before, and of two heads of one size the root is the same;
  (4) a refusal is raised as the error that its code names.

What is *not* checked: that the key is a genuine broker's (`common/broker_verification`; an order or grant names it).
"""

import contextlib
import secrets
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from common.broker_statements import open_refusal_detail
from common.crypto.digests import sha256
from common.crypto.wrapping import WrappingKey
from common.errors import AuthenticityError, FormatError, FreshnessError, Refusal, refusal_of
from common.identifiers import Digest, PartyKey
from common.messages.base import Message
from common.messages.broker_exchange import BrokerReply, BrokerRequest, RequestBody
from common.messages.log_heads import LogHead
from common.messages.refusal_detail import RefusalDetail, Refused
from common.messages.signed import Signed, open_signed

NONCE_BYTES: Final = 32
Ask = Callable[[bytes], bytes]
ReplyT = TypeVar("ReplyT", bound=Message)


def open_reply(raw: bytes, request: bytes, broker: PartyKey, *, nonce: bytes | None = None) -> BrokerReply:
    """Checks (1) and (2). `request` are the bytes that were sent; `nonce` theirs, where their sender remembers it.

    Raises `AuthenticityError` (authenticity.broker_reply) or `FormatError`.
    """
    try:
        reply = open_signed(Signed.decode(raw), BrokerReply, [broker])  # (1)
    except AuthenticityError as cause:
        raise AuthenticityError("authenticity.broker_reply", expected=cause.expected, seen=cause.seen) from cause
    asked = BrokerRequest.decode(request).nonce if nonce is None else nonce
    if (reply.request, reply.nonce) != (sha256(request), asked):  # (2)
        raise AuthenticityError("authenticity.broker_reply", expected="an answer to this request", seen=reply.request)
    return reply


def require_not_older(head: LogHead, seen: LogHead | None) -> None:
    """Check (3). Raises `FreshnessError` (freshness.state): the broker's state was rewound, or it was forked.

    Each start adds one to size and epoch alike, so what is compared beside both is the number of other decisions:
    a host starts a rewound broker as often as it likes.
    """
    if seen is None:
        return
    decided, seen_decided = head.size - head.epoch, seen.size - seen.epoch
    rewound = head.size < seen.size or head.epoch < seen.epoch or decided < seen_decided
    if rewound or (head.size == seen.size and head.root != seen.root):
        raise FreshnessError("freshness.state", expected=f"head {_text(seen)} or a later one", seen=_text(head))


def _text(head: LogHead) -> str:
    return f"size {head.size}, root {head.root}, epoch {head.epoch}"


class BrokerChannel:
    """`ask` carries request bytes to the broker and its answer back; `broker` is the key that must have signed it.

    Without `broker` the first answer's signer is taken for it: enough for a launch, whose order names the broker
    (`common/key_retrieval` compares), never for a party. `head` is the newest log head seen, to be kept by a party.
    One question at a time, so that heads are compared in the order in which they were made.
    """

    def __init__(self, ask: Ask, broker: PartyKey | None = None, *, head: LogHead | None = None) -> None:
        self._ask, self.broker, self.head = ask, broker, head
        self._own: tuple[PartyKey, WrappingKey] | None = None
        self._lock = threading.Lock()

    def read_details_as(self, party: PartyKey, report_key: WrappingKey) -> None:
        """Open expected and seen of refusals that are meant for this party."""
        self._own = (party, report_key)

    def ask(self, body: RequestBody, kind: type[ReplyT]) -> ReplyT:
        """The broker's answer of this class. Raises its refusal, or what checks (1) to (3) raise."""
        return self.ask_with_nonce(secrets.token_bytes(NONCE_BYTES), body, kind)

    def ask_with_nonce(self, nonce: bytes, body: RequestBody, kind: type[ReplyT]) -> ReplyT:
        """As `ask`, for a body that repeats the request's nonce. It must be fresh."""
        request = BrokerRequest(nonce=nonce, body=body).encode()
        with self._lock:
            raw = self._ask(request)
            if self.broker is None:
                self.broker = Signed.decode(raw).unverified_signer
            reply = open_reply(raw, request, self.broker, nonce=nonce)
            require_not_older(reply.head, self.head)  # (3)
            self.head = reply.head
        if isinstance(reply.body, Refused):  # (4)
            raise self._refusal(reply.body, reply.request)
        if not isinstance(reply.body, kind):
            raise FormatError("format.message", expected=kind.__name__, seen=reply.body.type)
        return reply.body

    def _refusal(self, refused: Refused, request: Digest) -> Refusal:
        for sealed in (refused.detail, *refused.others):
            if sealed and self._own is not None:
                with contextlib.suppress(AuthenticityError):  # another party is entitled to it
                    detail = open_refusal_detail(sealed, request, *self._own)
                    return refusal_of(detail.code or refused.code, expected=detail.expected, seen=detail.seen)
        shown = refused.shown or RefusalDetail(expected=None, seen=None)
        return refusal_of(refused.code, expected=shown.expected, seen=shown.seen)
