"""What is kept of a data set for the day on which its broker is gone, and what holders and witnesses sign then
(side: library).

A package goes out with every decision about its data set, to whoever will keep it: without enough shares it opens to
nobody. What it does not hold: anything of other data sets, of bundles, jobs and models, and the broker's own keys.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.crypto.secret_sharing import MAX_SHARES, MIN_NEEDED
from common.identifiers import DatasetId, Digest, PartyKey
from common.messages.base import Count, Message, Nonce, Seconds
from common.messages.broker_identity import Genesis
from common.messages.collateral import Marks
from common.messages.log_heads import LogHead
from common.messages.signed import Signed

Hash = Annotated[bytes, Field(min_length=32, max_length=32)]


class HeldShare(Message):
    """A share wrapped to its holder (info: `held_share_info`), and the commitment that tells whether it is the one."""

    number: Annotated[int, Field(ge=1, le=MAX_SHARES)]
    holder: PartyKey
    wrapped: Annotated[bytes, Field(max_length=2048)]
    commitment: Hash


class RecoveryPackage(Message):
    """One data set as of `head`. Signed by the broker that holds it; `peaks` are those of its log then.

    `sealed` is a RecoveredDataset under the key of which `needed` of the shares give it back.
    """

    type: Literal["recovery-package"] = "recovery-package"
    version: Literal[1] = 1
    broker: Genesis
    dataset_id: DatasetId
    policy: Digest
    policy_version: Annotated[int, Field(ge=1)]
    head: LogHead
    peaks: Annotated[tuple[Hash, ...], Field(max_length=64)]
    time: Seconds
    needed: Annotated[int, Field(ge=MIN_NEEDED, le=MAX_SHARES)]
    shares: Annotated[tuple[HeldShare, ...], Field(min_length=MIN_NEEDED, max_length=MAX_SHARES)]
    sealed: Annotated[bytes, Field(max_length=1 << 19)]


class SpentCounts(Message):
    """What was charged to the data set, whether or not it ever left. Packages of earlier builds lack `report_bits`."""

    jobs: Count
    attempts: Count
    attempt_bits: Count
    answers: Count
    answer_bits: Count
    report_bits: Count = 0


class RecoveredDataset(Message):
    """What a package holds. `keys` is the ring {data} as a blob under the same key; spaces pad it to a size class.

    `holder` is whose word counted for the owner at that broker: the manifest's owner, or the identity that replaced it;
    `card` is the card by which that identity is known there, null if it came without. `revoked_releases` are those that
    the release keys ended at that broker.
    """

    type: Literal["recovered-dataset"] = "recovered-dataset"
    version: Literal[1] = 1
    manifest: Signed
    policy: Signed
    holder: PartyKey
    card: Signed | None
    keys: Annotated[bytes, Field(max_length=4096)]
    spent: SpentCounts
    revoked_releases: Annotated[tuple[Signed, ...], Field(max_length=256)] = ()


class GivenShare(Message):
    """A holder gives its share to one boot of one broker, for one package. Signed by the holder.

    `wrapped` has the info `given_share_info`, which says the same.
    """

    type: Literal["given-share"] = "given-share"
    version: Literal[1] = 1
    package: Digest
    successor: Digest
    epoch: Count
    boot_nonce: Nonce
    holder: PartyKey
    wrapped: Annotated[bytes, Field(max_length=2048)]


class Retirement(Message):
    """A witness will confirm nothing of `broker` any more; `head` is the newest that it has seen, `successor` the
    genesis digest of the one broker that takes over, `collateral` what it knows of the collateral that was seen.
    Signed by the witness.
    """

    type: Literal["broker-retirement"] = "broker-retirement"
    version: Literal[1] = 1
    broker: Digest
    head: LogHead
    successor: Digest
    collateral: Marks = ()
