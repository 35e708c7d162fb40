"""The append-only log of the broker's decisions: a Merkle tree of which only the frontier is kept (side: enclave).

A leaf is transcript(LOG_LEAF, decision, time (8 bytes), digests...): it says what was decided about which documents,
never what they contain. Every reply carries the head, so whoever has seen one notices a rewound or forked broker.
"""

from dataclasses import dataclass
from typing import Literal

from common.crypto.digests import transcript
from common.crypto.labels import LOG_LEAF
from common.crypto.merkle import MerkleFrontier
from common.identifiers import Digest
from common.messages.attestation import LogHead

DecisionName = Literal[
    "genesis",
    "start",
    "dataset-registered",
    "bundle-registered",
    "policy-updated",
    "order-accepted",
    "launch-admitted",
    "job-completed",
    "budget-drawn",
    "revoked",
    "release-revoked",
]


@dataclass(frozen=True)
class Decision:
    """What was decided, about which documents (by digest) or things (by identifier)."""

    name: DecisionName
    subjects: tuple[bytes, ...]

    def leaf(self, at: int) -> bytes:
        """The log's leaf for a decision at this time."""
        return transcript(LOG_LEAF, self.name.encode(), at.to_bytes(8, "big"), *self.subjects)


class DecisionLog:
    """The frontier, in one epoch. `extended` leaves this one as it is, so that a failed write changes nothing."""

    def __init__(self, epoch: int, size: int = 0, peaks: tuple[bytes, ...] = ()) -> None:
        self.epoch = epoch
        self._tree = MerkleFrontier(size, peaks)

    @property
    def size(self) -> int:
        """Number of decisions."""
        return self._tree.size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """Roots of the perfect subtrees."""
        return tuple(self._tree.peaks)

    @property
    def head(self) -> LogHead:
        """Size, root, epoch."""
        root: Digest = self._tree.root()
        return LogHead(size=self.size, root=root, epoch=self.epoch)

    def extended(self, decision: Decision, at: int) -> "DecisionLog":
        """The log with one more decision."""
        longer = DecisionLog(self.epoch, self.size, self.peaks)
        longer._tree.append(decision.leaf(at))
        return longer
