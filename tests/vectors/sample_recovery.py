"""One fixed message of each type of recovery: what is kept, given, asked and answered (side: library)."""

from typing import Final

from common.messages import recovery as y
from common.messages import recovery_package as k
from common.messages.base import Message
from common.messages.recovery_terms import HolderCard
from common.messages.signed import sign
from tests.vectors.sample_broker import GENESIS, HEAD, MARK, NONCE32
from tests.vectors.sample_documents import (
    CARD,
    DATASET,
    KEY,
    MANIFEST,
    PARTY,
    POLICY,
    PROVIDER,
    PUBLIC,
    RELEASE_REVOCATION,
    TIME,
    USER,
    A,
    B,
    C,
)

PACKAGE: Final = k.RecoveryPackage(
    broker=GENESIS, dataset_id=DATASET, policy=B, policy_version=2, head=HEAD, peaks=(NONCE32,), time=TIME, needed=2,
    shares=(
        k.HeldShare(number=1, holder=USER, wrapped=b"wrapped", commitment=NONCE32),
        k.HeldShare(number=2, holder=PROVIDER, wrapped=b"wrapped", commitment=bytes(32)),
    ),
    sealed=b"blob",
)  # fmt: skip
GIVEN: Final = k.GivenShare(
    package=C, successor=A, epoch=1, boot_nonce=NONCE32, holder=USER, wrapped=b"wrapped"
)  # fmt: skip
RETIREMENT: Final = k.Retirement(broker=A, head=HEAD, successor=B, collateral=(MARK,))


def recovery_messages() -> list[Message]:
    """All of them, outside of requests and replies."""
    return [
        HolderCard(party=USER, wrapping_public=PUBLIC),
        PACKAGE,
        k.RecoveredDataset(
            manifest=sign(MANIFEST, KEY), policy=sign(POLICY, KEY), holder=PARTY, card=sign(CARD, KEY), keys=b"blob",
            spent=k.SpentCounts(jobs=1, attempts=2, attempt_bits=74, answers=64, answer_bits=704, report_bits=13),
            revoked_releases=(sign(RELEASE_REVOCATION, KEY),),
        ),
        GIVEN,
        RETIREMENT,
        y.RecoveryWords(shares=(sign(GIVEN, KEY),), retirements=(sign(RETIREMENT, KEY),)),
        y.RecoverDataset(
            package=sign(PACKAGE, KEY), shares=(sign(GIVEN, KEY),), retirements=(sign(RETIREMENT, KEY),),
            later=(b"entry",), path=(NONCE32,),
        ),
        y.Recovered(dataset_id=DATASET, predecessor=A),
        y.SharesRefused(holders=(PARTY,)),
    ]  # fmt: skip
