"""Is this state the newest? Witnesses outside the operator's reach say so (side: enclave; ARCHITECTURE, decision 7).

Sealing does not make state fresh: the host may start the broker from an older chain. So after each start it releases
nothing until a quorum of the witnesses in its genesis record has signed that the log head of this boot is not older
than any that they have seen. From then on it may run `UNCONFIRMED_LIMIT` decisions ahead of them and freezes again
beyond. A host that keeps the witnesses away and rewinds to the last head that they saw gains none of these: what it
would keep (keys, answers) is not released before they have confirmed it (`key_broker`).

A witness takes a newer head only if the host proves that it extends the one that it remembers (RFC 9162). If that
fails it signs the one that it remembers: a broker of whose log that is no earlier head was rewound, or has grown from
an older state beside another, and learns so here. Length says nothing, for every start makes the log longer. A head
from before this boot is only answered; it thaws nothing. A TPM's counter is a witness too, with proofs of its own
(`tpm_counters`); it speaks through `take` and `object`.
Without witnesses nothing is ever frozen, and every placement says `witnessed: false`.
"""

from collections.abc import Mapping
from typing import Final

from common.broker_statements import head_seen_parts
from common.crypto.labels import LOG_HEAD_SEEN
from common.crypto.signing import verify_signature
from common.errors import AuthenticityError, FreshnessError, UnavailableError
from common.identifiers import Digest
from common.messages.broker_identity import Genesis
from common.messages.log_heads import ConfirmHead, LogHead

UNCONFIRMED_LIMIT: Final = 256
"""Decisions that a quorum of witnesses need not have seen yet. One budget draw, launch or order is one decision."""

ROOM: Final = UNCONFIRMED_LIMIT // 4
"""How many may be unconfirmed where one more refusal, token or count is entered: those alone can never freeze it."""


class StateAnchor:
    """What the witnesses have said in this boot. `boot_nonce` (32 bytes) is fresh in each.

    `roots` is the log's own memory: root by size, of this boot and before it, growing with the log.
    """

    def __init__(self, genesis: Genesis, boot_nonce: bytes, head: LogHead, roots: Mapping[int, Digest]) -> None:
        self._genesis, self.boot_nonce = genesis, boot_nonce
        self._head, self._first_size, self._roots = head, head.size, roots
        self._confirmed: dict[str, int] = {}  # by a witness's key, or its TPM's endorsement key
        self._objecting: set[str] = set()

    @property
    def witnessed(self) -> bool:
        """Whether a quorum of witnesses guards this broker."""
        return self._genesis.witness_quorum > 0

    @property
    def frozen(self) -> bool:
        """Whether nothing may be released now."""
        if not self.witnessed:
            return False
        confirmed = self._confirmed_size()
        return confirmed is None or self._head.size - confirmed >= UNCONFIRMED_LIMIT

    @property
    def unconfirmed(self) -> int:
        """How many decisions a quorum has not seen yet; none matter where there is nobody to see them."""
        confirmed = self._confirmed_size() if self.witnessed else self._head.size
        return self._head.size - (confirmed or 0)

    @property
    def has_room(self) -> bool:
        """Whether what nobody waits for may be entered now."""
        return not self.witnessed or (not self.frozen and self.unconfirmed < ROOM)

    def has_confirmed(self, size: int) -> bool:
        """Whether a quorum has seen the log at this size or later; without witnesses there is nobody to ask."""
        if not self.witnessed:
            return True
        confirmed = self._confirmed_size()
        return confirmed is not None and confirmed >= size

    def require_thawed(self) -> None:
        """Raise `FreshnessError` (freshness.state) when rewound, `UnavailableError` (unavailable.frozen) if frozen."""
        if self.frozen and self._objecting:
            raise FreshnessError("freshness.state", expected="the newest state", seen=f"size {self._head.size}")
        if self.frozen:
            raise UnavailableError("unavailable.frozen")

    def follow(self, head: LogHead) -> None:
        """The log has grown."""
        self._head = head

    def confirm(self, word: ConfirmHead) -> None:
        """Take a witness's word. In this order, each raises:

        (1) it is a witness of the genesis record who signed this (`AuthenticityError`);
        (2) it answers this boot, not an earlier one (`FreshnessError`, freshness.challenge);
        (3) the head is one of this log; else the witness has seen a later or another one (freshness.state).
        """
        if word.witness not in self._genesis.witnesses:  # (1)
            raise AuthenticityError("authenticity.signature", expected=self._genesis.witnesses, seen=word.witness)
        parts = head_seen_parts(self._genesis.digest, word.boot_nonce, word.head, word.collateral)
        verify_signature(word.witness, word.signature, LOG_HEAD_SEEN, *parts)
        if word.boot_nonce != self.boot_nonce:  # (2)
            raise FreshnessError("freshness.challenge", expected="this boot's nonce")
        size = word.head.size
        if word.head.epoch > self._head.epoch or self._roots.get(size) != word.head.root:  # (3)
            self.object(word.witness)
            raise FreshnessError("freshness.state", expected=f"size {size}", seen=f"size {self._head.size}")
        self.take(word.witness, size)

    def object(self, witness: str) -> None:
        """This witness has seen a later log, or another one."""
        self._objecting.add(witness)
        self._confirmed.pop(witness, None)

    def take(self, witness: str, size: int) -> None:
        """This witness has seen this log at this size, which counts if it is of this boot."""
        self._objecting.discard(witness)
        if size >= self._first_size:
            self._confirmed[witness] = max(size, self._confirmed.get(witness, 0))

    def _confirmed_size(self) -> int | None:
        """The largest size that a quorum has confirmed, or a later one of."""
        sizes = sorted(self._confirmed.values(), reverse=True)
        quorum = self._genesis.witness_quorum
        return sizes[quorum - 1] if len(sizes) >= quorum else None
