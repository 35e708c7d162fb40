"""What an enclave or a party and the key broker say to each other (side: library).

The host carries these; every broker answer is a `BrokerReply` signed by the broker's quoted key over the request's
digest, its nonce and the log head, so the host can drop one but neither forge nor reuse one.
"""

from typing import Annotated, Literal

from pydantic import Field

from common.identifiers import Digest
from common.messages.admission import Admission, Admit, Challenge, IssueChallenge, Leased, RenewLease
from common.messages.base import Message, Nonce, Seconds
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from common.messages.budget import BudgetBlock, DrawBudget
from common.messages.checkpoint import CheckpointKept, KeepCheckpoint
from common.messages.identity import BindIdentity, IdentityBound, RecoverIdentity
from common.messages.jobs import AcceptOrder, AwaitEnd, Completed, CompleteJob, ListMembers, Members, OrderAccepted
from common.messages.ledger import LedgerReply, ReadLedger
from common.messages.log_heads import (
    AwaitHead,
    ConfirmAndAwait,
    Confirmed,
    ConfirmHead,
    HeadHeard,
    HeadSigned,
    LogHead,
    SignHead,
)
from common.messages.peer import PeerWitnessed, WitnessPeer
from common.messages.platform_inventory import InventoryTaken, TakeInventory
from common.messages.reasons import ReadReasons, ReasonsReply
from common.messages.recovery import RecoverDataset, Recovered, SharesRefused
from common.messages.refusal_detail import Refused
from common.messages.registration import (
    BundleRetired,
    RegisterBundle,
    RegisterDataset,
    Registered,
    RetireBundle,
    UpdatePolicy,
    UpdateTerms,
)
from common.messages.revocation import Revoke, Revoked, RevokeRelease
from common.messages.serving import ReadServing, ServingShown, SetServing
from common.messages.tokens import AppraiseEvidence, AttestationToken, IssueToken, ShowTokenKey, TokenKeyShown
from common.messages.tpm_counter import ConfirmByCounter, MeetTpm, TpmChallenge

RequestBody = Annotated[
    DescribeBroker
    | RegisterDataset
    | UpdatePolicy
    | RegisterBundle
    | UpdateTerms
    | AcceptOrder
    | IssueChallenge
    | Admit
    | RenewLease
    | ListMembers
    | AwaitEnd
    | KeepCheckpoint
    | CompleteJob
    | DrawBudget
    | Revoke
    | RetireBundle
    | SetServing
    | ReadServing
    | RevokeRelease
    | TakeInventory
    | BindIdentity
    | RecoverIdentity
    | ReadLedger
    | ReadReasons
    | RecoverDataset
    | ConfirmHead
    | MeetTpm
    | ConfirmByCounter
    | WitnessPeer
    | SignHead
    | AwaitHead
    | ConfirmAndAwait
    | IssueToken
    | AppraiseEvidence
    | ShowTokenKey,
    Field(discriminator="type"),
]


class BrokerRequest(Message):
    """One question to the broker; `nonce` is fresh from whoever asks."""

    type: Literal["broker-request"] = "broker-request"
    version: Literal[1] = 1
    nonce: Nonce
    body: RequestBody


ReplyBody = Annotated[
    BrokerDescription
    | Registered
    | OrderAccepted
    | Challenge
    | Admission
    | Leased
    | Members
    | CheckpointKept
    | Completed
    | BudgetBlock
    | Revoked
    | InventoryTaken
    | BundleRetired
    | ServingShown
    | IdentityBound
    | LedgerReply
    | ReasonsReply
    | Recovered
    | SharesRefused
    | Confirmed
    | TpmChallenge
    | PeerWitnessed
    | HeadSigned
    | HeadHeard
    | AttestationToken
    | TokenKeyShown
    | Refused,
    Field(discriminator="type"),
]


class BrokerReply(Message):
    """One answer. Signed as a document (common/messages/signed) by the broker's signing key."""

    type: Literal["broker-reply"] = "broker-reply"
    version: Literal[1] = 1
    request: Digest
    nonce: Nonce
    head: LogHead
    time: Seconds
    body: ReplyBody
