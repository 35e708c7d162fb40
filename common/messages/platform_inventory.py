"""Machines that are known, and machines that are over: one signed list for a whole installation (side: library).

Signed by as many release keys as a release needs, the broker of each installation that is measured with them takes the
newest, and shows it to everybody who verifies (common/platform_inventory). What it revokes gets no key from anybody's
data any more, and passes for no broker; which of its machines count, parties' terms say.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from common.identifiers import PlatformId
from common.messages.base import Count, Message, Seconds
from common.messages.signed import Signed

MAX_PLATFORMS: Final = 4096
_Platforms = Annotated[tuple[PlatformId, ...], Field(max_length=MAX_PLATFORMS)]


class PlatformInventory(Message):
    """PPIDs or platform instance ids. `number` counts up; a later inventory revokes all that an earlier one revoked."""

    type: Literal["platform-inventory"] = "platform-inventory"
    version: Literal[1] = 1
    number: Count
    platforms: _Platforms
    revoked: _Platforms
    created: Seconds

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        named = (*self.platforms, *self.revoked)
        if len(set(named)) != len(named):
            raise ValueError("each platform is named once, as known or as revoked")
        return self


NO_INVENTORY: Final = PlatformInventory(number=0, platforms=(), revoked=(), created=0)
"""Before the first one: no machine is known, none is revoked."""


class TakeInventory(Message):
    """Asks the broker to take a Signed PlatformInventory. Answer: InventoryTaken."""

    type: Literal["take-inventory"] = "take-inventory"
    inventory: Signed


class InventoryTaken(Message):
    """In force for every admission and renewal from now on; after `leases_end` what it revoked holds no key."""

    type: Literal["inventory-taken"] = "inventory-taken"
    number: Count
    leases_end: Seconds
