"""The key broker: request bytes and a host's clock in, signed reply bytes out (side: enclave).

Nothing on the host decides about keys: every document is signed by the party with the authority and judged here.
Each reply is signed over the request's digest, its nonce and the log head, refusals too, so the host can forge none.

Time is a lower bound: the largest of the host's clock, the sealed high-water mark and the newest release that was
accepted. A host that sets its clock back gains nothing; one that sets it forward only makes terms expire.
Once it has handed over (`handover`) it does no more than while frozen, and gives its heir what that has not got yet.
Once the release keys have revoked its own machine (`platform_inventory`) it takes and gives no key or answer more.
While frozen (`state_anchor`) the broker describes itself and its keys, signs its log's head, lists members, says
whether a job has ended, and hears witnesses, nothing else. Refusals enter the log as `refusal_log` says,
and by number (`open_counts`) where not one by one.

No reply leaves before the host has stored every decision up to the log head that it names: witnesses, too, hear of a
head only then. Requests are judged meanwhile, and what they decide is stored together (`state`).

A reply that hands out keys, leases or answers, or promises that something is over, leaves only when the witnesses have
confirmed the decision behind it. Else a host would keep them away, take what was handed out, and go back to the state
that they know, as often as it likes. Where they stay away, what was decided is wasted. So it is with the end of a job,
behind which one report goes to its provider.
"""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from pydantic import ValidationError

from common.broker_statements import wrap_refusal_detail
from common.broker_verification import broker_binding
from common.crypto.digests import sha256
from common.errors import FormatError, Refusal, UnavailableError
from common.identifiers import Digest, JobId
from common.messages.admission import Admit, IssueChallenge, RenewLease
from common.messages.base import Message
from common.messages.broker_exchange import BrokerReply, BrokerRequest, ReplyBody, RequestBody
from common.messages.broker_identity import BrokerDescription, DescribeBroker
from common.messages.budget import DrawBudget
from common.messages.checkpoint import KeepCheckpoint
from common.messages.decision_log import TreeHead
from common.messages.evidence import Collateral
from common.messages.handover import GiveHandover, HandoverGiven, HandoverOffer
from common.messages.identity import BindIdentity, RecoverIdentity
from common.messages.jobs import AcceptOrder, AwaitEnd, CompleteJob, ListMembers
from common.messages.ledger import ReadLedger
from common.messages.log_heads import (
    AwaitHead,
    ConfirmAndAwait,
    Confirmed,
    ConfirmHead,
    HeadHeard,
    HeadSigned,
    SignHead,
)
from common.messages.peer import WitnessPeer
from common.messages.platform_inventory import TakeInventory
from common.messages.reasons import ReadReasons
from common.messages.recovery import RecoverDataset
from common.messages.refusal_detail import RefusalDetail, Refused
from common.messages.registration import RegisterBundle, RegisterDataset, RetireBundle, UpdatePolicy, UpdateTerms
from common.messages.revocation import Revoke, RevokeRelease
from common.messages.serving import ReadServing, SetServing
from common.messages.signed import Signed, sign
from common.messages.tokens import AppraiseEvidence, IssueToken, ShowTokenKey
from common.messages.tpm_counter import ConfirmByCounter, MeetTpm
from services.attestation.admission import admit, issue_challenge
from services.attestation.attribution import Attribution
from services.attestation.budget import draw_budget
from services.attestation.checkpointing import keep_checkpoint
from services.attestation.collateral import with_offered
from services.attestation.completion import complete_job
from services.attestation.context import BrokerContext
from services.attestation.entitlement import EntitledRefusal, Told, in_the_clear
from services.attestation.handover import Handover
from services.attestation.handover_package import pack
from services.attestation.identity_replacement import bind_identity, recover_identity
from services.attestation.leases import issue_renewal, renew_lease
from services.attestation.ledger import read_ledger
from services.attestation.members import members_of
from services.attestation.orders import accept_order
from services.attestation.peers import witness_peer
from services.attestation.platform_inventory import take_inventory
from services.attestation.policy_changes import update_policy, update_terms
from services.attestation.reasons import read_reasons
from services.attestation.recovery import recover_dataset
from services.attestation.recovery_packages import RecoveryPackages
from services.attestation.refusal_log import RefusalLog
from services.attestation.registration import register_bundle, register_dataset
from services.attestation.release_choice import require_own_release
from services.attestation.release_revocation import revoke_release
from services.attestation.retirement import retire_bundle
from services.attestation.revocation import revoke
from services.attestation.serving import read_serving, set_serving
from services.attestation.state import StateStore
from services.attestation.tokens import appraise_evidence, issue_token, show_token_key

NO_NONCE: Final = bytes(32)
"""In the reply to bytes that are no request."""

_WITNESSING: Final = (ConfirmHead, MeetTpm, ConfirmByCounter)
_AWAITING: Final = (AwaitHead, ConfirmAndAwait, AwaitEnd)
_FREE_WHILE_FROZEN: Final = (DescribeBroker, ShowTokenKey, ListMembers, SignHead, *_AWAITING, *_WITNESSING)
_NEEDS_OWN_MACHINE: Final = (
    RegisterDataset,
    RegisterBundle,
    AcceptOrder,
    IssueChallenge,
    Admit,
    RenewLease,
    DrawBudget,
    IssueToken,
    AppraiseEvidence,
    RecoverDataset,
    WitnessPeer,
)
"""What takes keys in or gives keys, leases, answers, tokens or a witness's word out; never what ends something."""

_CONFIRMED_FIRST: Final = (
    Admit,
    RenewLease,
    IssueToken,
    AppraiseEvidence,
    CompleteJob,
    DrawBudget,
    Revoke,
    RetireBundle,
    SetServing,
    RevokeRelease,
    TakeInventory,
    UpdatePolicy,
    UpdateTerms,
    BindIdentity,
    RecoverIdentity,
    RecoverDataset,
    WitnessPeer,
)

_OF_PARTIES: Final[dict[type[Message], Callable[[BrokerContext, Any, int], ReplyBody]]] = {
    RegisterDataset: register_dataset,
    RegisterBundle: register_bundle,
    UpdatePolicy: update_policy,
    UpdateTerms: update_terms,
    Revoke: revoke,
    RetireBundle: retire_bundle,
    SetServing: set_serving,
    ReadServing: read_serving,
    RevokeRelease: revoke_release,
    TakeInventory: take_inventory,
    BindIdentity: bind_identity,
    RecoverIdentity: recover_identity,
    ReadLedger: read_ledger,
    ReadReasons: read_reasons,
    WitnessPeer: witness_peer,
    RecoverDataset: recover_dataset,
}
"""What documents of parties and release keys ask for, each by its own rules."""

CONFIRM_SECONDS: Final = 8.0
"""How long a reply waits for the witnesses: several of their polls, and less than its asker waits (10 s)."""

MAX_WAITING: Final = 128
"""Replies that wait at once: fewer than threads of the door, and than the host carries, so witnesses are heard."""

AWAIT_SECONDS: Final = 2.0
MAX_AWAITING: Final = 16
"""How long, and how many at once, may wait for the log to grow: witnesses do, so decisions wait little for them."""

MAX_AWAITING_ENDS: Final = 64
"""How many at once may wait for the end of a job, as long: its parameter server hears of a revocation before its next
tick. Where there are more, the others are answered at once, and ask again on a tick of their own."""


class KeyBroker:
    """One running broker. `handle` may be called from any thread; requests are judged one after the other."""

    def __init__(self, context: BrokerContext, *, confirm_seconds: float = CONFIRM_SECONDS) -> None:
        self._context, self._confirm_seconds = context, confirm_seconds
        self._refusals, self._handover = RefusalLog(context), Handover(context)
        packages = RecoveryPackages(context.state, context.signing_key)
        packages.begin()
        context.state.follower = packages.follow
        self._lock = threading.Lock()
        self._decided, self._confirmed = threading.Condition(self._lock), threading.Condition(self._lock)
        self._ended, self._watched = threading.Condition(self._lock), Counter[JobId]()
        self._waiting = self._awaiting = 0
        self._told_size = context.state.log.size

    def handle(self, raw: bytes, host_time: int, offered: Collateral | None = None) -> bytes:
        """The signed reply to any bytes. Raises nothing that a request could cause.

        `offered` is the host's collateral for a quote that carries none.
        """
        digest = sha256(raw)
        try:
            request: BrokerRequest | Refusal = BrokerRequest.decode(raw)
        except Refusal as refusal:
            request = refusal
        with self._lock:
            reply = self._reply(digest, request, max(host_time, self._context.state.time), offered)
        self._context.state.settle()
        return sign(reply, self._context.signing_key).encode()

    def _reply(
        self, digest: Digest, request: BrokerRequest | Refusal, at: int, offered: Collateral | None
    ) -> BrokerReply:
        nonce, asked, body, entitled = NO_NONCE, None, None, None
        self._write_counts(at)
        try:
            if isinstance(request, Refusal):
                raise request
            nonce, asked = request.nonce, Attribution(self._context, request.body, request.nonce)
            body = self._answer(with_offered(request.body, offered), nonce, at)
            self._require_confirmed(request.body)
        except EntitledRefusal as cause:
            body, entitled = self._refused(cause, digest), cause
        except Refusal as refusal:
            body = Refused(code=refusal.code)
        except ValidationError:  # of an answer or a record that is longer, or counts further, than any may
            body = Refused(code="format.too_large")
        if isinstance(body, Refused) and self._context.handed_over is None:  # else its log is its heir's
            self._refusals.note(asked, body.code, at, entitled)
        self._context.anchor.follow(self._context.state.log.head)
        return BrokerReply(request=digest, nonce=nonce, head=self._context.state.log.head, time=at, body=body)

    def name_release(self, document: Signed) -> None:
        """Take the host's word for which release this broker is of. Raises `AppraisalError` (appraisal.release)."""
        with self._lock:
            require_own_release(self._context, document)
            self._context.own_release.document = document

    def rest(self, host_time: int) -> None:
        """Enter all that is only counted so far: this broker is about to be stopped."""
        with self._lock:
            self._write_counts(max(host_time, self._context.state.time), all_of_them=True)
        self._context.state.settle()

    def offer_handover(self, host_time: int) -> HandoverOffer:
        """A challenge for whoever would carry on in this broker's place. Raises its refusal, as `hand_over` does."""
        with self._lock:
            return self._handover.offer(max(host_time, self._context.state.time))

    def hand_over(self, body: GiveHandover, host_time: int, store: StateStore) -> HandoverGiven:
        """Hand over to the heir for good, and have its state stored, once the witnesses have confirmed that."""
        with self._lock:
            self._write_counts(max(host_time, self._context.state.time), all_of_them=True)
            agreed = self._handover.agree(body, max(host_time, self._context.state.time))
            self._wait_for_witnesses()
            self._context.state.settle()
            package = pack(self._context, agreed, store)
            binding = package.giver_binding(agreed.record.wrapping_public)
            return HandoverGiven(package=package, evidence=self._context.platform.evidence(binding.report_data()))

    @property
    def frozen(self) -> bool:
        """Whether nothing is released now."""
        with self._lock:
            return self._context.anchor.frozen

    def _write_counts(self, at: int, *, all_of_them: bool = False) -> None:
        if self._context.handed_over is None:  # else its log is its heir's, and so is what is open
            self._context.counts.write(at, all_of_them=all_of_them)

    def _require_confirmed(self, asked: RequestBody) -> None:
        """Wait for the witnesses where the reply must, with the lock let go; or raise (unavailable.frozen)."""
        if isinstance(asked, _WITNESSING):
            self._confirmed.notify_all()
        self._tell_decided()
        if isinstance(asked, _CONFIRMED_FIRST):
            self._wait_for_witnesses()

    def _wait_for_witnesses(self) -> None:
        anchor, size = self._context.anchor, self._context.state.log.size
        anchor.follow(self._context.state.log.head)
        self._tell_decided()
        if anchor.has_confirmed(size):
            return
        self._waiting += 1
        try:
            if not self._confirmed.wait_for(lambda: anchor.has_confirmed(size), self._confirm_seconds):
                raise UnavailableError("unavailable.frozen", expected="witnesses that confirm what was decided")
        finally:
            self._waiting -= 1

    def _tell_decided(self) -> None:
        """Wake those that wait for a longer log, if it is longer, and those whose job has ended."""
        size = self._context.state.log.size
        if size != self._told_size:
            self._told_size = size
            self._decided.notify_all()
            if not all(map(self._runs, self._watched)):
                self._ended.notify_all()

    def _require_able(self, body: RequestBody) -> None:
        if not isinstance(body, _FREE_WHILE_FROZEN):
            self._context.anchor.require_thawed()
            self._context.require_not_handed_over()
        if isinstance(body, _NEEDS_OWN_MACHINE):
            with in_the_clear(of_release=True):
                self._context.require_own_machine()
        if isinstance(body, _CONFIRMED_FIRST) and self._waiting >= MAX_WAITING:
            raise UnavailableError("unavailable.frozen", expected=f"at most {MAX_WAITING} replies that wait")

    def _answer(self, body: RequestBody, nonce: bytes, at: int) -> ReplyBody:
        self._require_able(body)
        match body:
            case DescribeBroker():
                return self._describe(nonce)
            case ShowTokenKey():
                return show_token_key(self._context)
            case ListMembers():
                return members_of(self._context.job(body.job_id))
            case AwaitEnd():
                self._await_end(body.job_id)
                return members_of(self._context.job(body.job_id))
            case ConfirmHead():
                self._hear_witness(body)
                return Confirmed(frozen=self._context.anchor.frozen)
            case MeetTpm():
                return self._context.counters.meet(body)
            case ConfirmByCounter():
                self._context.counters.confirm(body, self._context.anchor)
                return Confirmed(frozen=self._context.anchor.frozen)
            case SignHead():
                return self._sign_head(at)
            case AwaitHead():
                self._await_longer(body.known)
                return self._sign_head(max(at, self._context.state.time))
            case ConfirmAndAwait():
                self._hear_witness(body.word)
                self._confirmed.notify_all()
                self._await_longer(body.known)
                told = self._sign_head(max(at, self._context.state.time))
                return HeadHeard(head=told.head, collateral=told.collateral, frozen=self._context.anchor.frozen)
            case _:
                return self._answer_party(body, nonce, at)

    def _answer_party(self, body: RequestBody, nonce: bytes, at: int) -> ReplyBody:
        answer = _OF_PARTIES.get(type(body))
        return self._answer_job(body, nonce, at) if answer is None else answer(self._context, body, at)

    def _answer_job(self, body: RequestBody, nonce: bytes, at: int) -> ReplyBody:
        match body:
            case AcceptOrder():
                return accept_order(self._context, body, at)
            case IssueChallenge(renews=None):
                return issue_challenge(self._context, body, at)
            case IssueChallenge(renews=int(attempt)):
                return issue_renewal(self._context, body, attempt, at)
            case RenewLease():
                return renew_lease(self._context, body, at)
            case Admit():
                return admit(self._context, body, at)
            case KeepCheckpoint():
                return keep_checkpoint(self._context, body, at)
            case CompleteJob():
                return complete_job(self._context, body, at)
            case DrawBudget():
                return draw_budget(self._context, body, nonce, at)
            case IssueToken():
                return issue_token(self._context, body, nonce, at)
            case AppraiseEvidence():
                return appraise_evidence(self._context, body, nonce, at)
            case _:
                raise FormatError("format.message", expected="a request of version 1", seen=body.type)

    def _hear_witness(self, word: ConfirmHead) -> None:
        self._context.anchor.confirm(word)
        self._context.collateral.hear(word.witness, word.collateral)

    def _await_longer(self, known: int) -> None:
        """Wait, with the lock let go, until the log is longer than that; not for long, and not when many do."""
        if self._awaiting >= MAX_AWAITING:
            return
        self._awaiting += 1
        try:
            self._decided.wait_for(lambda: self._context.state.log.size > known, AWAIT_SECONDS)
        finally:
            self._awaiting -= 1

    def _await_end(self, job_id: JobId) -> None:
        """The same, until the job has ended."""
        if not self._runs(job_id) or self._watched.total() >= MAX_AWAITING_ENDS:
            return
        self._watched[job_id] += 1
        try:
            self._ended.wait_for(lambda: not self._runs(job_id), AWAIT_SECONDS)
        finally:
            self._watched -= Counter([job_id])

    def _runs(self, job_id: JobId) -> bool:
        return self._context.job(job_id).state == "running"

    def _sign_head(self, at: int) -> HeadSigned:
        head, counted = self._context.state.log.head, self._refusals.counted
        word = TreeHead(broker=self._context.broker, head=head, time=at, refusals_counted=counted)
        return HeadSigned(head=sign(word, self._context.signing_key), collateral=self._context.collateral.digest)

    def _describe(self, nonce: bytes) -> BrokerDescription:
        context = self._context
        succession = context.state.identity.succession
        binding = broker_binding(context.genesis, nonce, context.state.log.epoch, succession)
        return BrokerDescription(
            genesis=context.genesis,
            evidence=context.platform.evidence(binding.report_data()),
            frozen=context.anchor.frozen,
            boot_nonce=context.anchor.boot_nonce,
            succession=succession,
            inventory=context.inventory_document,
            collateral=context.collateral.marks,
        )

    def _refused(self, cause: EntitledRefusal, request: Digest) -> Refused:
        code, shown = cause.refusal.code, cause.shown
        details = [self._detail(told, code, request) for told in cause.told]
        return Refused(
            code=code,
            detail=details[0] if details else None,
            others=tuple(one or b"" for one in details[1:]),
            shown=None if shown is None else RefusalDetail.of(shown, code),
        )

    def _detail(self, told: Told, public: str, request: Digest) -> bytes | None:
        """For whoever holds the party's identity now."""
        parties = self._context.parties
        holder, key = parties.holder(told.party), parties.report_key(told.party, told.report_key)
        return _detail(Told(holder, key, told.refusal), public, request)


def _detail(told: Told, public: str, request: Digest) -> bytes | None:
    detail = RefusalDetail.of(told.refusal, public)
    try:
        return wrap_refusal_detail(detail, request, told.party, told.report_key)
    except FormatError:  # a report key of the right length that is no key: its party can't be told more
        return None
