"""What the SDK tells while it works: one small closed message for each thing that happens (side: owner).

An operation is a generator of events and its last event is its result, so a command line, the demo or a console shows
progress without knowing the operation. Events may speak of the party's own content: they stay on its machine.
"""

from client.events.answers import Answered, AnswersAdvanced, GrantSigned, ReceiptKept, ReceiptVerified, ServingSigned
from client.events.base import Ended, Event, Explained, Noted, outcome
from client.events.identities import IdentityKnown, IdentityMade, IdentityReplaced
from client.events.jobs import (
    Calibrated,
    JobForecast,
    JobSeen,
    ModelSealed,
    OrderAccepted,
    OrderPreview,
    ProtectionCost,
    ProviderReportRead,
    ReportOpened,
)
from client.events.logs import LogEntryTold, LogSaved, LogVerified, ReasonsRead, ReasonTold
from client.events.objects import (
    BundleRegistered,
    DatasetRegistered,
    PolicySigned,
    Sealed,
    UploadAdvanced,
    VersionListed,
)
from client.events.releases import (
    EnclaveBuilt,
    FileListed,
    FilesVerified,
    InventoryInForce,
    InventoryShown,
    ReleaseShown,
    RevocationShown,
    RoleReleased,
    SignaturesCounted,
)
from client.events.stack import DemoFinished, Examined, PlainTwinTrained, StackSeen, StageBegan, StateCopied
from client.events.trust import (
    CollateralSeen,
    CounterReady,
    HostProfileMade,
    Pinned,
    QuoteVerified,
    RoleMeasured,
    SigstructRead,
    Verified,
)

__all__ = [
    "Answered",
    "AnswersAdvanced",
    "BundleRegistered",
    "Calibrated",
    "CollateralSeen",
    "CounterReady",
    "DatasetRegistered",
    "DemoFinished",
    "EnclaveBuilt",
    "Ended",
    "Event",
    "Examined",
    "Explained",
    "FileListed",
    "FilesVerified",
    "GrantSigned",
    "HostProfileMade",
    "IdentityKnown",
    "IdentityMade",
    "IdentityReplaced",
    "InventoryInForce",
    "InventoryShown",
    "JobForecast",
    "JobSeen",
    "LogEntryTold",
    "LogSaved",
    "LogVerified",
    "ModelSealed",
    "Noted",
    "OrderAccepted",
    "OrderPreview",
    "Pinned",
    "PlainTwinTrained",
    "PolicySigned",
    "ProtectionCost",
    "ProviderReportRead",
    "QuoteVerified",
    "ReasonTold",
    "ReasonsRead",
    "ReceiptKept",
    "ReceiptVerified",
    "ReleaseShown",
    "ReportOpened",
    "RevocationShown",
    "RoleMeasured",
    "RoleReleased",
    "Sealed",
    "ServingSigned",
    "SignaturesCounted",
    "SigstructRead",
    "StackSeen",
    "StageBegan",
    "StateCopied",
    "UploadAdvanced",
    "Verified",
    "VersionListed",
    "outcome",
]
