"""What an owner asks and reads of the bits that have left a data set (side: library)."""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import DatasetId, PartyKey
from common.messages.base import Count, Message, Seconds
from common.messages.signed import Signed


class LedgerRequest(Message):
    """Signed by the data set's owner, for one broker."""

    type: Literal["ledger-request"] = "ledger-request"
    version: Literal[1] = 1
    nonce: Annotated[bytes, Field(min_length=16, max_length=16)]
    party: PartyKey
    dataset_id: DatasetId
    broker: PartyKey


class Ledger(Message):
    """Everything that one data set was charged for, at `time`; sealed to its owner, at a fixed size.

    Bits: common/leakage. `max_bits` None: counted, not limited. Numbers only grow; what a crash wasted is in them.
    """

    type: Literal["ledger"] = "ledger"
    version: Literal[1] = 1
    dataset_id: DatasetId
    time: Seconds
    policy_version: Annotated[int, Field(ge=1)]
    jobs: Count
    max_jobs: Count
    attempts: Count
    attempt_bits: Count
    answers: Count
    answers_total: Count
    answer_bits: Count
    report_bits: Count
    max_bits: Count | None


class ReadLedger(Message):
    """Answer: LedgerReply. `request` is a LedgerRequest, signed by the data set's owner."""

    type: Literal["read-ledger"] = "read-ledger"
    request: Signed


class LedgerReply(Message):
    """A Ledger, wrapped to the owner's report key (info: `ledger_info`), at one size."""

    type: Literal["ledger-reply"] = "ledger-reply"
    sealed: Annotated[bytes, Field(max_length=8192)]
