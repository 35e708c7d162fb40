"""A key broker as another's witness (side: library). A host carries between the two and is trusted with nothing."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import Digest
from common.messages.base import Count, Message, Signature64
from common.messages.collateral import Marks
from common.messages.signed import Signed


class WitnessPeer(Message):
    """Answer: PeerWitnessed. Asked of a broker that the genesis of another names among its witnesses.

    `description` is a BrokerReply of that other one, a BrokerDescription in it; `proof` shows that the log under its
    head begins with the head that this broker remembers (RFC 9162 section 2.1.4), empty where they are the same.
    """

    type: Literal["witness-peer"] = "witness-peer"
    description: Signed
    proof: Annotated[tuple[Annotated[bytes, Field(min_length=32, max_length=32)], ...], Field(max_length=128)] = ()


class PeerWitnessed(Message):
    """The newest head of the peer that this broker has seen, signed as a witness signs it (LOG_HEAD_SEEN) for its boot.

    Not the one that was shown, if that one is older, forked or not proven. `collateral`: as in ConfirmHead.
    """

    type: Literal["peer-witnessed"] = "peer-witnessed"
    size: Count
    root: Digest
    epoch: Count
    signature: Signature64
    collateral: Marks = ()
