"""The append-only log of the broker's decisions: a Merkle tree of which only the frontier is kept (side: enclave).

An entry says what was decided about which documents, never what they contain (common/messages/decision_log). The host
stores it, together with the sealed state that the decision made (`state`), and serves it to those whom it concerns.
Every reply carries the head, so whoever has seen one notices a rewound or forked broker.
"""

import secrets
from dataclasses import dataclass, field
from functools import cached_property

from common.crypto.merkle import MerkleFrontier
from common.identifiers import Digest
from common.messages.decision_log import DecisionName, Further, LogEntry, LogSubjects, Outcome
from common.messages.log_heads import LogHead
from common.transparency import leaf_of

SALT_BYTES = 16
_OUTCOMES: dict[DecisionName, Outcome] = {
    "admit-launch": "released",
    "draw-budget": "released",
    "revoke": "revoked",
    "revoke-release": "revoked",
    "take-inventory": "recorded",
    "recover-identity": "revoked",
    "handover": "released",
}


@dataclass(frozen=True)
class Decision:
    """What was decided, about what. `code`: the public one of a refusal. `further`: of many alike (`open_counts`)."""

    name: DecisionName
    subjects: LogSubjects = field(default_factory=LogSubjects)
    code: str | None = None
    further: Further | None = None

    @property
    def outcome(self) -> Outcome:
        """In one word."""
        return _OUTCOMES.get(self.name, "recorded") if self.code is None else "refused"


@dataclass(frozen=True)
class WrittenEntry:
    """An encoded entry and the leaf that commits to it."""

    raw: bytes
    leaf: bytes


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

    @cached_property
    def head(self) -> LogHead:
        """Size, root, epoch. Every reply carries it, so it is hashed once."""
        root: Digest = self._tree.root()
        return LogHead(size=self.size, root=root, epoch=self.epoch)

    def entry(self, decision: Decision, at: int) -> WrittenEntry:
        """The entry of a decision at this time, for the next place."""
        entry = LogEntry(
            number=self.size,
            epoch=self.epoch,
            time=at,
            salt=secrets.token_bytes(SALT_BYTES),
            decision=decision.name,
            outcome=decision.outcome,
            code=decision.code,
            subjects=decision.subjects,
            further=decision.further,
        )
        raw = entry.encode()
        return WrittenEntry(raw, leaf_of(entry, raw))

    def extended(self, entry: WrittenEntry) -> "DecisionLog":
        """The log with one more entry."""
        tree = MerkleFrontier(self.size, self.peaks)
        tree.append(entry.leaf)
        return DecisionLog(self.epoch, tree.size, tuple(tree.peaks))
