"""Heads of the broker's log of decisions: how they are asked for, and how witnesses confirm them (side: library).

The log itself: `decision_log`.
"""

from typing import Literal

from common.identifiers import Digest, PartyKey
from common.messages.base import Count, Message, Nonce, Signature64
from common.messages.collateral import Marks
from common.messages.signed import Signed


class LogHead(Message):
    """Head of the broker's append-only log of decisions (RFC 9162 Merkle root), in one epoch of its life.

    The epoch grows by one at every start of the broker.
    """

    size: Count
    root: Digest
    epoch: Count


class ConfirmHead(Message):
    """Answer: Confirmed. A witness signs LOG_HEAD_SEEN over genesis digest, boot nonce, size, root and epoch.

    `collateral` are all marks that it remembers, where one is newer than the broker's own; it signs their digest, too.
    """

    type: Literal["confirm-head"] = "confirm-head"
    witness: PartyKey
    boot_nonce: Nonce
    head: LogHead
    signature: Signature64
    collateral: Marks = ()


class Confirmed(Message):
    """The witness's word is taken; `frozen` tells whether the quorum is still missing."""

    type: Literal["confirmed"] = "confirmed"
    frozen: bool


class AwaitHead(Message):
    """Answer: HeadSigned, as soon as the log is longer than `known`, or after a moment all the same. For witnesses."""

    type: Literal["await-head"] = "await-head"
    known: Count


class ConfirmAndAwait(Message):
    """Answer: HeadHeard. `word` is taken as a `confirm-head`, then it is waited as for an `await-head`.

    So a witness says its word of a head with the question for the next one.
    """

    type: Literal["confirm-and-await"] = "confirm-and-await"
    known: Count
    word: ConfirmHead


class SignHead(Message):
    """Answer: HeadSigned. Asked by anybody; the answer is for whoever verifies the log offline."""

    type: Literal["sign-head"] = "sign-head"


class HeadSigned(Message):
    """A Signed TreeHead (common/messages/decision_log). `collateral` is the digest of the marks that the broker knows:
    a witness that sees another one than before asks for its description.
    """

    type: Literal["head-signed"] = "head-signed"
    head: Signed
    collateral: Digest | None = None


class HeadHeard(Message):
    """The word is taken: `frozen` as of Confirmed, the rest as of HeadSigned."""

    type: Literal["head-heard"] = "head-heard"
    head: Signed
    collateral: Digest | None
    frozen: bool
