"""What a witness must not lose: one file, replaced atomically (side: owner)."""

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from client.durable_file import replace_durably
from common.broker_channel import open_reply
from common.broker_verification import VerifiedBroker, unverified_description
from common.dcap.collateral_memory import CollateralMemory, marks_of, vouched_for
from common.enclave.trust_settings import TrustSettings
from common.errors import AuthenticityError, FreshnessError
from common.identifiers import Digest
from common.messages.base import Message
from common.messages.collateral import MAX_MARKS, CollateralMark, Marks
from common.messages.log_heads import LogHead
from common.messages.platform_inventory import PlatformInventory
from common.messages.signed import Signed
from common.platform_inventory import kept_inventory, shown_inventory


class WitnessMemory(Message):
    """The broker that it guards, and the newest head that it has seen; `successor` once that broker is over.

    `inventory` is the newest signed inventory of machines that it was shown; `collateral` how new the collateral was
    under which it verified that broker, and that broker others.
    """

    type: Literal["witness-memory"] = "witness-memory"
    version: Literal[1] = 1
    broker: Digest
    head: LogHead
    successor: Digest | None = None
    inventory: Signed | None = None
    collateral: Marks = ()


class MemoryFile:
    """The file. Several processes of one witness may use it: what changes it does so `alone`, and reads it first."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.content = self._read()

    @contextmanager
    def alone(self) -> Iterator[WitnessMemory | None]:
        """No other process of this witness takes or retires meanwhile. Gives what is in the file now."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path.with_name(f".{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self.content = self._read()
            yield self.content
        finally:
            os.close(descriptor)

    def keep(self, memory: WitnessMemory) -> None:
        """Written durably when this returns. To be called `alone`."""
        if memory != self.content:
            replace_durably(self._path, memory.encode())
            self.content = memory

    def take_inventory(self, shown: Signed | None, trust: TrustSettings) -> PlatformInventory:
        """The newest inventory of this one and that which is remembered, from now on remembered.

        Raises `FreshnessError` (freshness.inventory) for an older one.
        """
        with self.alone() as memory:
            known = kept_inventory(None if memory is None else memory.inventory, trust)
            newest = shown_inventory(shown, known, trust)
            if memory is not None and newest != known:
                self.keep(memory.model_copy(update={"inventory": shown}))
        return newest

    @property
    def collateral(self) -> Marks:
        """How new collateral has been."""
        return () if self.content is None else self.content.collateral

    def require_not_older(self, verified: VerifiedBroker) -> None:
        """Raise `FreshnessError` (freshness.collateral) for a quote under older collateral than was seen."""
        CollateralMemory(self.collateral).require_not_older(marks_of(verified.collateral))

    def newest_collateral(self, verified: VerifiedBroker) -> Marks:
        """What is to be remembered once this broker, and what it says, were verified."""
        told = (self.collateral, marks_of(verified.collateral), verified.description.collateral)
        return vouched_for(told)[:MAX_MARKS]

    def hear(self, raw: bytes, request: bytes, marks: Collection[CollateralMark]) -> None:
        """Documents under which the quote of the broker that it guards was refused: they may be what revokes it.

        Replies that this broker has not signed teach nothing.
        """
        genesis = unverified_description(raw).genesis
        with self.alone() as memory, suppress(AuthenticityError, FreshnessError):
            if memory is not None and memory.broker == genesis.digest:
                open_reply(raw, request, genesis.signing_public)
                known = CollateralMemory(memory.collateral)
                known.remember(marks)
                self.keep(memory.model_copy(update={"collateral": known.marks[:MAX_MARKS]}))

    def _read(self) -> WitnessMemory | None:
        return WitnessMemory.decode(self._path.read_bytes()) if self._path.exists() else None
