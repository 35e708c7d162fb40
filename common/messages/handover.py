"""How a key broker hands its state to a broker of another build: what crosses the two doors (side: library).

Host and relay carry these between two enclaves of one installation; no network endpoint takes them. The *giver* is the
broker that runs, the *heir* an enclave that has no state yet.

    giver   handover.offer                  -> HandoverOffer: a nonce, and whose successor the heir would be
    heir    handover.ask     AskHandover    -> HeirAsked: a quote over the nonce and a key that is born there
    giver   handover.give    GiveHandover   -> HandoverGiven: the state under a fresh key, that key wrapped to the heir
    heir    handover.take    TakeHandover   -> nothing: the heir has stored the state as its own, and runs

Either enclave verifies the other's quote as `broker` of a release that enough of its own release keys have signed. The
bindings (common/messages/launch_binding) say which of the two speaks: no other quote of a broker has these
subjects.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from common.crypto.digests import sha256, transcript
from common.crypto.labels import HANDOVER_HEIR
from common.identifiers import ChallengeId, Digest, RoleName
from common.messages.base import Count, Message, Nonce, Seconds
from common.messages.broker_identity import Genesis
from common.messages.evidence import Collateral, Evidence
from common.messages.launch_binding import LaunchBinding
from common.messages.signed import Signed

_ROLE: Final = RoleName("broker")

HEIR_SUBJECT: Final[Digest] = sha256(transcript(HANDOVER_HEIR))
"""The subject of an heir's quote."""

MAX_HANDOVER_BYTES: Final = 4 << 20
"""A message here: a release, evidence and collateral."""


class HandoverOffer(Message):
    """The giver's challenge: single-use, of this boot, as long as a launch's. `epoch` is that of the giver's log."""

    type: Literal["handover-offer"] = "handover-offer"
    version: Literal[1] = 1
    challenge_id: ChallengeId
    nonce: Nonce
    genesis: Genesis
    epoch: Count
    not_after: Seconds

    def heir_binding(self, wrapping_public: bytes) -> LaunchBinding:
        """What the quote of an heir with this key binds: it will speak with the giver's signing key."""
        return LaunchBinding(
            nonce=self.nonce,
            broker=self.genesis.digest,
            role=_ROLE,
            subject=HEIR_SUBJECT,
            slot=0,
            attempt=self.epoch,
            wrapping_public=wrapping_public,
            signing_public=self.genesis.signing_public,
        )


class AskHandover(Message):
    """To the heir: an offer. `sealed_key` is what it answered an earlier one with, if the host has that."""

    type: Literal["ask-handover"] = "ask-handover"
    version: Literal[1] = 1
    offer: HandoverOffer
    sealed_key: Annotated[bytes, Field(max_length=4096)] | None = None


class HeirAsked(Message):
    """Of the heir. The host stores `sealed_key` (under the heir's sealing key) before it gives the rest to the giver:
    an heir that is killed goes on with it, and nobody else can.
    """

    type: Literal["heir-asked"] = "heir-asked"
    version: Literal[1] = 1
    sealed_key: Annotated[bytes, Field(max_length=4096)]
    binding: LaunchBinding
    evidence: Evidence


class GiveHandover(Message):
    """To the giver: the heir's answer, and the signed release that names it.

    `leave_behind`: go on although some party's terms do not accept that release; those keys are not handed over.
    `collateral` is the host's, for a quote that carries none.
    """

    type: Literal["give-handover"] = "give-handover"
    version: Literal[1] = 1
    challenge_id: ChallengeId
    binding: LaunchBinding
    evidence: Evidence
    release: Signed
    leave_behind: bool = False
    collateral: Collateral | None = None


class HandoverPackage(Message):
    """What the giver's quote vouches for. `key` is a key ring {state}, wrapped to the heir (info: `handover_info`):
    the blobs that the giver had the host store are a chain of sealed state under it.
    """

    type: Literal["handover-package"] = "handover-package"
    version: Literal[1] = 1
    genesis: Genesis
    epoch: Count
    key: Annotated[bytes, Field(max_length=4096)]

    def giver_binding(self, wrapping_public: bytes) -> LaunchBinding:
        """What the giver's quote binds: this very package, for the heir with this key, which is fresh."""
        return LaunchBinding(
            nonce=sha256(wrapping_public).raw(),
            broker=self.genesis.digest,
            role=_ROLE,
            subject=sha256(self.encode()),
            slot=0,
            attempt=self.epoch,
            wrapping_public=wrapping_public,
            signing_public=self.genesis.signing_public,
        )


class HandoverGiven(Message):
    """Of the giver, once its witnesses have seen that it handed over. From then on it releases nothing."""

    type: Literal["handover-given"] = "handover-given"
    version: Literal[1] = 1
    package: HandoverPackage
    evidence: Evidence


class TakeHandover(Message):
    """To the heir: what was given, its own sealed key, and the signed release that names the giver."""

    type: Literal["take-handover"] = "take-handover"
    version: Literal[1] = 1
    given: HandoverGiven
    sealed_key: Annotated[bytes, Field(max_length=4096)]
    release: Signed
    collateral: Collateral | None = None
