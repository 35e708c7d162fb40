"""A witness: it remembers the newest log head of one key broker, outside its operator's reach (side: owner).

It polls the attestation service, and in each round, in this order:

  (1) verifies the broker's fresh quote against the installation's release (common/broker_verification), and its machine
      against the newest inventory that it was shown, which it remembers: it confirms nothing of a revoked machine;
  (2) requires the broker that it met first, and its own key among that broker's witnesses;
  (3) requires a head that is not older than the newest it has seen, nor another one of the same size;
  (4) before it takes a new head, has the host prove that the log under it begins with the one that it remembers;
  (5) writes the new head down, durably, before it signs it; then confirms it for this boot of the broker.

If (3) or (4) fails it signs the head that it remembers all the same: a broker that was rewound or forked then knows it
and stays frozen. The proof of (4) is RFC 9162's, so nobody's word is taken for it. What a witness does not see: what
happens between two polls; the broker bounds how much that is.

A broker whose machine is gone it *retires* in favour of one successor, whose quote it verifies, on its own person's
word: from then on it confirms nothing of the old one, and names no other (services/attestation/recovery_log).

Between such rounds it *follows*: it lets the broker answer when the log grows, and goes through (3) to (5) for the new
head, which the quoted key signs. The host lays the proof of (4) beside that answer, so decisions wait for a witness as
long as two requests take, not for its next poll.
"""

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from client.broker_quote import BROKER_PATH, Service, verified_broker
from client.durable_file import replace_durably
from common.broker_channel import NONCE_BYTES, open_reply, require_not_older
from common.broker_statements import head_seen_parts
from common.broker_verification import VerifiedBroker
from common.crypto.key_file import Identity
from common.crypto.labels import LOG_HEAD_SEEN
from common.crypto.merkle_proofs import verify_consistency
from common.dcap import PlatformRules
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
from common.messages.base import Message
from common.messages.broker_exchange import BrokerReply, BrokerRequest, RequestBody
from common.messages.decision_log import ConsistencyProof, NextHead
from common.messages.evidence import TrustLevel
from common.messages.log_heads import AwaitHead, Confirmed, ConfirmHead, LogHead
from common.messages.recovery_package import Retirement
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed, sign
from common.platform_inventory import kept_inventory, shown_inventory

_log = logging.getLogger("witness")
_CONSISTENCY_PATH: Final = "/v1/log/consistency"
_NEXT_HEAD_PATH: Final = "/v1/log/next"

QUIET_SECONDS: Final = 0.1
"""Between two questions to which nothing new was answered."""


class WitnessMemory(Message):
    """The broker that it guards, and the newest head that it has seen; `successor` once that broker is over.

    `inventory` is the newest signed inventory of machines that it was shown.
    """

    type: Literal["witness-memory"] = "witness-memory"
    version: Literal[1] = 1
    broker: Digest
    head: LogHead
    successor: Digest | None = None
    inventory: Signed | None = None


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
        self._identity, self._trust, self._service, self._file = identity, trust, service, memory_file
        self._now, self._pause = now, pause
        self._memory = self._read()
        self._confirmed: tuple[bytes, LogHead] | None = None
        self._verified: VerifiedBroker | None = None
        self.broker_is_thawed = False

    def round(self) -> None:
        """One poll with all checks. Raises the refusal of the first that fails."""
        self._verified = None
        with self._frozen_if_refused():
            verified = self._verified_broker(self._service)  # (1)
            self._require_mine(verified)  # (2)
            self._take(verified, verified.head, frozen=verified.description.frozen)
            self._verified = verified

    def follow(self) -> bool:
        """Wait a moment for the next head of the broker that the last round verified, and confirm it: (3) to (5).

        The head is signed by the key that was quoted, in the boot that was quoted. False when another boot answers, or
        no round was made: then it takes a round. Raises the refusal of the first check that fails.
        """
        verified = self._verified
        if verified is None or self._memory is None:
            return False
        with self._frozen_if_refused():
            head, proof = self._next_head(verified, self._memory.head.size)
            if head.epoch != verified.head.epoch:
                self._verified = None
                return False
            if head == self._memory.head:
                self._pause(QUIET_SECONDS)  # a broker with too many that wait answers at once
            self._take(verified, head, frozen=not self.broker_is_thawed, proof=proof)
        return True

    def retire(self, service: Service) -> Signed:
        """The Signed Retirement of the broker that it guards, in favour of the one behind `service`.

        Raises what verifying that one raises; `NotFoundError` (not_found.pin) where it guards none; `ConflictError`
        (conflict.successor) for another than it has named before, or for the broker itself.
        """
        successor = self._verified_broker(service).genesis.digest
        with self._alone():
            memory = self._read()
            if memory is None:
                raise NotFoundError("not_found.pin", expected="a broker that this witness guards")
            if successor == memory.broker or memory.successor not in {None, successor}:
                raise ConflictError("conflict.successor", expected=memory.successor, seen=successor)
            self._memory = memory.model_copy(update={"successor": successor})
            replace_durably(self._file, self._memory.encode())
        word = Retirement(broker=memory.broker, head=memory.head, successor=successor)
        return sign(word, self._identity.signing_key)

    def _read(self) -> WitnessMemory | None:
        return WitnessMemory.decode(self._file.read_bytes()) if self._file.exists() else None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process of this witness takes or retires meanwhile."""
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._file.with_name(f".{self._file.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _frozen_if_refused(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.broker_is_thawed, self._verified = False, None
            raise

    def _take(
        self, verified: VerifiedBroker, head: LogHead, *, frozen: bool, proof: ConsistencyProof | None = None
    ) -> None:
        """Steps (3) to (5) for a head of the verified broker, unless it is over. `proof`: what came with it."""
        with self._alone():
            self._memory = self._read()
            if self._memory is not None and self._memory.successor is not None:
                raise ConflictError("conflict.successor", expected=self._memory.successor)
            self._take_alone(verified, head, proof, frozen=frozen)

    def _take_alone(
        self, verified: VerifiedBroker, head: LogHead, proof: ConsistencyProof | None, *, frozen: bool
    ) -> None:
        shown = verified.description.inventory if self._memory is None else self._memory.inventory
        memory = WitnessMemory(broker=verified.genesis.digest, head=head, inventory=shown)
        if self._memory is not None:
            self._require_extends(verified, head, self._memory.head, proof)  # (3), (4)
        if memory != self._memory:
            replace_durably(self._file, memory.encode())  # (5)
            self._memory = memory
        if frozen or self._confirmed != (verified.description.boot_nonce, head):
            frozen = self._say(verified, head)
            self._confirmed = (verified.description.boot_nonce, head)
            log_event(_log, "head_confirmed", log_size=head.size, epoch=head.epoch)
        self.broker_is_thawed = not frozen

    def _verified_broker(self, service: Service) -> VerifiedBroker:
        release = require_release(Signed.decode(service.get("/v1/release")), self._trust)
        floor = TrustLevel.SIMULATION if self._identity.unsafe_simulation else TrustLevel.SGX
        return verified_broker(service, self._trust, release, self._rules, int(self._now()), floor=floor)

    def _rules(self, shown: Signed | None) -> PlatformRules:
        """What machines are held against. It is remembered before the quote is judged: it may be about that machine."""
        with self._alone():
            memory = self._memory = self._read()
            known = kept_inventory(None if memory is None else memory.inventory, self._trust)
            newest = shown_inventory(shown, known, self._trust)
            if memory is not None and newest != known:
                self._memory = memory.model_copy(update={"inventory": shown})
                replace_durably(self._file, self._memory.encode())
        return PlatformRules(newest)

    def _require_mine(self, verified: VerifiedBroker) -> None:
        if self._memory is not None and self._memory.broker != verified.genesis.digest:
            raise AppraisalError("appraisal.pin", expected=self._memory.broker, seen=verified.genesis.digest)
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
        nonce, key = verified.description.boot_nonce, self._identity.signing_key
        signature = key.sign(LOG_HEAD_SEEN, *head_seen_parts(verified.genesis.digest, nonce, head))
        said = ConfirmHead(witness=key.party, boot_nonce=nonce, head=head, signature=signature)
        body = self._ask(verified, said).body
        if not isinstance(body, Confirmed):
            raise FormatError("format.message", expected="confirmed", seen=body.type)
        return body.frozen

    def _next_head(self, verified: VerifiedBroker, known: int) -> tuple[LogHead, ConsistencyProof | None]:
        """The verified broker's own word, once its log is longer than `known`; and what the host says proves (4)."""
        request = _request(AwaitHead(known=known))
        answer = NextHead.decode(self._service.post(_NEXT_HEAD_PATH, request))
        return _opened(answer.reply, request, verified).head, answer.proof

    def _ask(self, verified: VerifiedBroker, body: RequestBody) -> BrokerReply:
        """The verified broker's own answer. Raises what it refuses."""
        request = _request(body)
        return _opened(self._service.post(BROKER_PATH, request), request, verified)


def _opened(raw: bytes, request: bytes, verified: VerifiedBroker) -> BrokerReply:
    reply = open_reply(raw, request, verified.genesis.signing_public)
    if isinstance(reply.body, Refused):
        raise refusal_of(reply.body.code)
    return reply


def _request(body: RequestBody) -> bytes:
    return BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=body).encode()
