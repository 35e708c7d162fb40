"""Events of policies: what was checked, what a policy says, what a change changes, what has left (side: owner)."""

from typing import Literal

from client.events import Event
from common.identifiers import DatasetId
from common.messages.base import Count
from common.messages.ledger import Ledger


class LedgerRead(Event):
    """What a data set was charged for, as the broker's enclave counted it."""

    type: Literal["ledger-read"] = "ledger-read"
    dataset_id: DatasetId
    ledger: Ledger
    bits: Count
