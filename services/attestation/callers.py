"""Who may ask the key broker what, over HTTP, and how often (side: host).

    identities   whoever is enrolled in the registry, as with ingest: documents, revocations, ledgers, tokens, the log
    services     this operator's own, by key: also what the relays of enclaves carry
    witnesses    by key, those of the broker's genesis: also to wait for a head and confirm it; so may this operator's
                 services, which carry the word of a TPM or of another broker
    strangers    nobody's signature: what `strangers` lets in

That opens nothing: inside, every document proves its party, and every enclave itself. It keeps strangers from driving
out challenges and from filling the broker's state.
"""

from collections.abc import Collection
from typing import Final

from common.errors import AuthenticityError
from common.identifiers import PartyKey
from common.messages.admission import Admit, IssueChallenge, RenewLease
from common.messages.broker_exchange import RequestBody
from common.messages.broker_identity import DescribeBroker
from common.messages.budget import DrawBudget
from common.messages.checkpoint import KeepCheckpoint
from common.messages.identity import BindIdentity, RecoverIdentity
from common.messages.jobs import AcceptOrder, AwaitEnd, CompleteJob, ListMembers
from common.messages.ledger import ReadLedger
from common.messages.log_heads import AwaitHead, ConfirmAndAwait, ConfirmHead, SignHead
from common.messages.peer import WitnessPeer
from common.messages.platform_inventory import TakeInventory
from common.messages.reasons import ReadReasons
from common.messages.recovery import RecoverDataset
from common.messages.registration import RegisterBundle, RegisterDataset, RetireBundle, UpdatePolicy, UpdateTerms
from common.messages.revocation import Revoke, RevokeRelease
from common.messages.serving import ReadServing, SetServing
from common.messages.tokens import AppraiseEvidence, IssueToken, ShowTokenKey
from common.messages.tpm_counter import ConfirmByCounter, MeetTpm
from common.untrusted.http_identity import Enrolled
from common.untrusted.request_quota import RequestQuota

OF_ALL: Final = (
    DescribeBroker,
    RegisterDataset,
    UpdatePolicy,
    UpdateTerms,
    RegisterBundle,
    AcceptOrder,
    ListMembers,
    RetireBundle,
    SetServing,
    ReadServing,
    Revoke,
    RevokeRelease,
    TakeInventory,
    ReadLedger,
    ReadReasons,
    SignHead,
    IssueToken,
    AppraiseEvidence,
    ShowTokenKey,
    BindIdentity,
    RecoverIdentity,
    WitnessPeer,
)
OF_SERVICES: Final = (
    IssueChallenge,
    Admit,
    RenewLease,
    AwaitEnd,
    KeepCheckpoint,
    CompleteJob,
    DrawBudget,
    RecoverDataset,
)
OF_WITNESSES: Final = (ConfirmHead, MeetTpm, ConfirmByCounter, AwaitHead, ConfirmAndAwait)

SERVICE_REQUESTS_PER_SECOND: Final = 2_000
SERVICE_BURST: Final = 8_000
"""Of each service or witness: far more than one broker answers."""


class Callers:
    """`Enrolled` of this service. Thread-safe."""

    def __init__(
        self,
        registry: Enrolled,
        quota: RequestQuota,
        *,
        services: Collection[PartyKey] = (),
        witnesses: Collection[PartyKey] = (),
    ) -> None:
        self._registry, self._services, self._witnesses = registry, frozenset(services), frozenset(witnesses)
        self._quota, self._own_quota = quota, RequestQuota(SERVICE_REQUESTS_PER_SECOND, SERVICE_BURST)

    def is_enrolled(self, party: PartyKey) -> bool:
        """Whether this party may ask anything."""
        return party in self._services | self._witnesses or self._registry.is_enrolled(party)

    def charge(self, party: PartyKey) -> None:
        """Count one request of this party. Raises `QuotaError` (quota.requests)."""
        own = party in self._services | self._witnesses
        (self._own_quota if own else self._quota).charge(party)

    def require_may_ask(self, party: PartyKey, body: RequestBody) -> None:
        """Raise `AuthenticityError` (authenticity.http_role) for what is another's to ask."""
        kept = ((OF_SERVICES, self._services), (OF_WITNESSES, self._witnesses | self._services))
        if not isinstance(body, OF_ALL) and not any(isinstance(body, kinds) and party in keys for kinds, keys in kept):
            raise AuthenticityError("authenticity.http_role", expected=f"who may send {body.type}", seen=party)
