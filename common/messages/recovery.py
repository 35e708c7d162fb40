"""How a broker that starts anew is asked for what another one held: request and answers (side: library).

What is inside the signed documents: `recovery_package`.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.crypto.secret_sharing import MAX_SHARES
from common.identifiers import DatasetId, Digest, PartyKey
from common.messages.base import Message
from common.messages.signed import Signed

MAX_LATER_ENTRIES = 2048
"""Entries of the log behind a package: a broker makes it anew long before."""


class RecoverDataset(Message):
    """Answer: Recovered or SharesRefused. Signed: a RecoveryPackage, GivenShare of holders, Retirement of witnesses.

    `later`: the old log's entries from the package's head up to the newest that the witnesses know. `path`: where the
    package is newer than that, the proof that its log begins with it (RFC 9162). One of them is empty.
    """

    type: Literal["recover-dataset"] = "recover-dataset"
    package: Signed
    shares: Annotated[tuple[Signed, ...], Field(max_length=MAX_SHARES)]
    retirements: Annotated[tuple[Signed, ...], Field(max_length=32)]
    later: Annotated[tuple[Annotated[bytes, Field(max_length=1 << 16)], ...], Field(max_length=MAX_LATER_ENTRIES)] = ()
    path: Annotated[tuple[Annotated[bytes, Field(min_length=32, max_length=32)], ...], Field(max_length=128)] = ()


class RecoveryWords(Message):
    """What the operator has collected for one data set; its host lays package and log to it."""

    type: Literal["recovery-words"] = "recovery-words"
    version: Literal[1] = 1
    shares: Annotated[tuple[Signed, ...], Field(max_length=MAX_SHARES)]
    retirements: Annotated[tuple[Signed, ...], Field(max_length=32)]


class Recovered(Message):
    """The data set is registered here, under the policy and with the counters that it had with `predecessor`."""

    type: Literal["recovered"] = "recovered"
    dataset_id: DatasetId
    predecessor: Digest


class SharesRefused(Message):
    """Nothing was recovered, for the shares of these holders are not for this broker as it runs now, or not theirs."""

    type: Literal["shares-refused"] = "shares-refused"
    holders: Annotated[tuple[PartyKey, ...], Field(min_length=1, max_length=MAX_SHARES)]
