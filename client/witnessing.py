"""A witness: it remembers the newest log head of one key broker, outside its operator's reach (side: owner).

It polls the attestation service, and in each round, in this order:

  (1) verifies the broker's fresh quote against the installation's release (common/broker_verification), and its machine
      against the newest inventory that it was shown, which it remembers: it confirms nothing of a revoked machine, nor
      under collateral that is older than it has seen, or than that broker says that it has;
  (2) requires the broker that it met first, and its own key among that broker's witnesses;
  (3) requires a head that is not older than the newest it has seen, nor another one of the same size;
  (4) before it takes a new head, has the host prove that the log under it begins with the one that it remembers;
  (5) writes the new head down, durably, before it signs it; then confirms it for this boot of the broker.

Whatever a broker says it knows of collateral, it remembers with the head, and tells it to a broker that knows less: one
that was started from a state of before, or that takes over.

If (3) or (4) fails it signs the head that it remembers all the same: a broker that was rewound or forked then knows it
and stays frozen. The proof of (4) is RFC 9162's, so nobody's word is taken for it. What a witness does not see: what
happens between two polls; the broker bounds how much that is.

A broker whose machine is gone it *retires* in favour of one successor, whose quote it verifies, on its own person's
word: from then on it confirms nothing of the old one, and names no other (services/attestation/recovery_log).

Between such rounds it *follows*: it lets the broker answer when the log grows, and goes through (3) to (5) for the new
head, which the quoted key signs. The host lays the proof of (4) beside that answer, and its word of that head goes with
the question for the next one: so decisions wait for a witness as long as one request takes, not for its next poll.
"""

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from client.broker_quote import BROKER_PATH, Service, verified_broker
from client.witness_memory import MemoryFile, WitnessMemory
from common.broker_channel import NONCE_BYTES, open_reply, require_not_older
from common.broker_statements import head_seen_parts
from common.broker_verification import VerifiedBroker
from common.crypto.key_file import Identity
from common.crypto.labels import LOG_HEAD_SEEN
from common.crypto.merkle_proofs import verify_consistency
from common.dcap import PlatformRules
from common.dcap.collateral_memory import news_for
from common.enclave.trust_settings import TrustSettings, require_release
from common.errors import (
    AppraisalError,
    AuthenticityError,
    ConflictError,
    FormatError,
    FreshnessError,
    NotFoundError,
    refusal_of,
)
from common.event_log import log_event
from common.identifiers import Digest
from common.messages.broker_exchange import BrokerReply, BrokerRequest, RequestBody
from common.messages.collateral import SeenCollateral
from common.messages.decision_log import ConsistencyProof, NextHead
from common.messages.evidence import TrustLevel
from common.messages.log_heads import AwaitHead, ConfirmAndAwait, Confirmed, ConfirmHead, HeadHeard, HeadSigned, LogHead
from common.messages.recovery_package import Retirement
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed, sign

_log = logging.getLogger("witness")
_CONSISTENCY_PATH: Final = "/v1/log/consistency"
_NEXT_HEAD_PATH: Final = "/v1/log/next"

QUIET_SECONDS: Final = 0.1
"""Between two questions to which nothing new was answered."""


class Witness:
    """One witness of one broker; `memory_file` is replaced atomically and is all that it must not lose."""

    def __init__(
        self,
        identity: Identity,
        trust: TrustSettings,
        service: Service,
        memory_file: Path,
        now: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._identity, self._trust, self._service = identity, trust, service
        self._memory, self._now, self._pause = MemoryFile(memory_file), now, pause
        self._confirmed: tuple[bytes, LogHead] | None = None
        self._word: ConfirmHead | None = None
        """Of the newest head that it has taken: to be said with the next question."""
        self._speaks_apart = False
        """This round's broker, or its host, is of a build that takes no word with a question."""
        self._verified: VerifiedBroker | None = None
        self.broker_is_thawed = False

    def round(self) -> None:
        """One poll with all checks. Raises the refusal of the first that fails."""
        self._verified, self._word, self._speaks_apart = None, None, False
        with self._frozen_if_refused():
            verified = self._verified_broker(self._service)  # (1)
            self._require_mine(verified)  # (2)
            self._take(verified, verified.head, frozen=verified.description.frozen)
            self._verified = verified

    def follow(self) -> bool:
        """Wait a moment for the next head of the broker that the last round verified, and confirm it: (3) to (5).

        The head is signed by the key that was quoted, in the boot that was quoted. False when another boot answers, the
        broker has seen newer collateral, or no round was made: then it takes a round. Raises the refusal of the first
        check that fails.
        """
        verified, memory = self._verified, self._memory.content
        if verified is None or memory is None:
            return False
        with self._frozen_if_refused():
            reply, proof = self._next_reply(verified, memory.head.size)
            if reply.head.epoch != verified.head.epoch:
                self._verified = None
                return False
            head, collateral = reply.head, self._heard(verified, reply)
            known = {SeenCollateral(marks=one).digest for one in (verified.description.collateral, memory.collateral)}
            if collateral not in {None, *known}:
                self._require_extends(verified, head, memory.head, proof)
                self._verified = None
                return False
            if head == memory.head:
                self._pause(QUIET_SECONDS)  # a broker with too many that wait answers at once
            with self._alone():
                self._keep(verified, head, proof)
                if self._must_say(verified, head, frozen=not self.broker_is_thawed):
                    self._word = self._signed_word(verified, head)
        return True

    def retire(self, service: Service) -> Signed:
        """The Signed Retirement of the broker that it guards, in favour of the one behind `service`.

        Raises what verifying that one raises; `NotFoundError` (not_found.pin) where it guards none; `ConflictError`
        (conflict.successor) for another than it has named before, or for the broker itself.
        """
        successor = self._verified_broker(service).genesis.digest
        with self._memory.alone() as memory:
            if memory is None:
                raise NotFoundError("not_found.pin", expected="a broker that this witness guards")
            if successor == memory.broker or memory.successor not in {None, successor}:
                raise ConflictError("conflict.successor", expected=memory.successor, seen=successor)
            self._memory.keep(memory.model_copy(update={"successor": successor}))
        word = Retirement(broker=memory.broker, head=memory.head, successor=successor, collateral=memory.collateral)
        return sign(word, self._identity.signing_key)

    @contextmanager
    def _frozen_if_refused(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.broker_is_thawed, self._verified, self._word = False, None, None
            raise

    def _take(self, verified: VerifiedBroker, head: LogHead, *, frozen: bool) -> None:
        """Steps (3) to (5) for a head of the verified broker, unless it is over."""
        with self._alone():
            self._keep(verified, head)
            if self._must_say(verified, head, frozen=frozen):
                frozen = self._say(verified, head)
                self._said(verified, head)
        self.broker_is_thawed = not frozen

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of this witness takes or retires meanwhile. Raises `ConflictError` where one has retired."""
        with self._memory.alone() as memory:
            if memory is not None and memory.successor is not None:
                raise ConflictError("conflict.successor", expected=memory.successor)
            yield

    def _keep(self, verified: VerifiedBroker, head: LogHead, proof: ConsistencyProof | None = None) -> None:
        """Steps (3) to (5) but its word. `proof`: what came with the head."""
        before, told = self._memory.content, self._memory.newest_collateral(verified)
        shown = verified.description.inventory if before is None else before.inventory
        if before is not None:
            self._require_extends(verified, head, before.head, proof)  # (3), (4)
        broker = verified.genesis.digest
        self._memory.keep(WitnessMemory(broker=broker, head=head, inventory=shown, collateral=told))  # (5)

    def _must_say(self, verified: VerifiedBroker, head: LogHead, *, frozen: bool) -> bool:
        return frozen or self._confirmed != (verified.description.boot_nonce, head)

    def _said(self, verified: VerifiedBroker, head: LogHead) -> None:
        self._confirmed = (verified.description.boot_nonce, head)
        log_event(_log, "head_confirmed", log_size=head.size, epoch=head.epoch)

    def _verified_broker(self, service: Service) -> VerifiedBroker:
        release = require_release(Signed.decode(service.get("/v1/release")), self._trust)
        floor = TrustLevel.SIMULATION if self._identity.unsafe_simulation else TrustLevel.SGX
        at = int(self._now())
        memory = self._memory
        verified = verified_broker(service, self._trust, release, self._rules, at, floor=floor, learning=memory)
        memory.require_not_older(verified)
        return verified

    def _rules(self, shown: Signed | None) -> PlatformRules:
        """What machines are held against. It is remembered before the quote is judged: it may be about that machine."""
        return PlatformRules(self._memory.take_inventory(shown, self._trust))

    def _require_mine(self, verified: VerifiedBroker) -> None:
        memory = self._memory.content
        if memory is not None and memory.broker != verified.genesis.digest:
            raise AppraisalError("appraisal.pin", expected=memory.broker, seen=verified.genesis.digest)
        if self._identity.signing_key.party not in verified.genesis.witnesses:
            raise AppraisalError("appraisal.pin", expected="a broker that names this witness")

    def _require_extends(
        self, verified: VerifiedBroker, head: LogHead, remembered: LogHead, proof: ConsistencyProof | None
    ) -> None:
        try:
            require_not_older(head, remembered)  # (3)
            if head != remembered:  # (4)
                if proof is None or (proof.earlier, proof.size) != (remembered.size, head.size):
                    proof = self._proof(remembered.size, head.size)
                verify_consistency(remembered.size, remembered.root, head.size, head.root, proof.path)
        except (FreshnessError, AuthenticityError):
            self._say(verified, remembered)
            raise

    def _proof(self, earlier: int, size: int) -> ConsistencyProof:
        """What the host offers for (4), where it came with no head."""
        return ConsistencyProof.decode(self._service.get(f"{_CONSISTENCY_PATH}?earlier={earlier}&size={size}"))

    def _say(self, verified: VerifiedBroker, head: LogHead) -> bool:
        """Sign `head` for this boot; whether the broker is still frozen. Raises what it answers."""
        body = self._ask(verified, self._signed_word(verified, head)).body
        if not isinstance(body, Confirmed):
            raise FormatError("format.message", expected="confirmed", seen=body.type)
        return body.frozen

    def _signed_word(self, verified: VerifiedBroker, head: LogHead) -> ConfirmHead:
        nonce, key = verified.description.boot_nonce, self._identity.signing_key
        told = news_for(verified.description.collateral, self._memory.collateral)
        signature = key.sign(LOG_HEAD_SEEN, *head_seen_parts(verified.genesis.digest, nonce, head, told))
        return ConfirmHead(witness=key.party, boot_nonce=nonce, head=head, signature=signature, collateral=told)

    def _next_reply(self, verified: VerifiedBroker, known: int) -> tuple[BrokerReply, ConsistencyProof | None]:
        """The verified broker's own word, once its log is longer than `known`, and what the host says proves (4).

        With the question goes this witness's word of the head before.
        """
        if self._word is not None:
            with self._alone():
                pass  # it was not retired since it signed that
        if self._word is not None and not self._speaks_apart:
            try:
                return self._asked_next(verified, ConfirmAndAwait(known=known, word=self._word))
            except (FormatError, AuthenticityError):  # the second: an enclave that can't read which nonce is asked
                self._speaks_apart = True
        if self._word is not None:
            self.broker_is_thawed = not self._say(verified, self._word.head)
            self._said(verified, self._word.head)
            self._word = None
        return self._asked_next(verified, AwaitHead(known=known))

    def _asked_next(
        self, verified: VerifiedBroker, body: AwaitHead | ConfirmAndAwait
    ) -> tuple[BrokerReply, ConsistencyProof | None]:
        request = _request(body)
        answer = NextHead.decode(self._service.post(_NEXT_HEAD_PATH, request))
        return open_reply(answer.reply, request, verified.genesis.signing_public), answer.proof

    def _heard(self, verified: VerifiedBroker, reply: BrokerReply) -> Digest | None:
        """That broker has taken the word that went with the question; the digest of what it knows of collateral."""
        body = _not_refused(reply).body
        if isinstance(body, HeadHeard) and self._word is not None:
            self._said(verified, self._word.head)
            self._word, self.broker_is_thawed = None, not body.frozen
        elif not isinstance(body, HeadSigned):
            raise FormatError("format.message", expected="head-signed or head-heard", seen=body.type)
        return body.collateral

    def _ask(self, verified: VerifiedBroker, body: RequestBody) -> BrokerReply:
        """The verified broker's own answer. Raises what it refuses."""
        request = _request(body)
        raw = self._service.post(BROKER_PATH, request)
        return _not_refused(open_reply(raw, request, verified.genesis.signing_public))


def _not_refused(reply: BrokerReply) -> BrokerReply:
    if isinstance(reply.body, Refused):
        raise refusal_of(reply.body.code)
    return reply


def _request(body: RequestBody) -> bytes:
    return BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=body).encode()
