"""Submission of signed orders: one function, whether they come over HTTP or from RabbitMQ (side: host).

(1) every owner that the order names signed it, and whoever brings it is one of them; (2) its time is not over; (3) the
key broker accepts it, and thereby uses it up; (4) it stands on the job board, durably; (5) the answer is its job id.
An order that is on the board already is not accepted a second time: its job id is the answer.
"""

import logging
import secrets
import time
from collections.abc import Callable

from common.errors import FreshnessError, NotFoundError, PolicyError, UnavailableError
from common.event_log import log_event
from common.identifiers import JobId, PartyKey
from common.messages.broker_exchange import BrokerRequest
from common.messages.jobs import AcceptOrder, OrderAccepted
from common.messages.order import TrainingOrder
from common.messages.signed import Signed, open_signed
from common.untrusted.broker_client import BrokerRoute, reply_of
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.registry import Registry

_log = logging.getLogger("ingest")


class Submission:
    """Takes orders. `on_accepted` runs after an order came on the board."""

    def __init__(
        self,
        registry: Registry,
        board: JobBoard,
        broker: BrokerRoute,
        *,
        on_accepted: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._registry, self._board, self._broker = registry, board, broker
        self._on_accepted, self._now = on_accepted, now

    def submit(self, raw: bytes, party: PartyKey | None = None) -> JobId:
        """Accept an encoded Signed order; `party` signed the request that brought it, if it was one.

        Raises `FormatError`, `AuthenticityError` or `PolicyError` (1), `FreshnessError` (2), the broker's refusal or
        `UnavailableError` (3, 4); after the last, the same order may be submitted again.
        """
        signed = Signed.decode(raw)
        order = self._open(signed, party)  # (1)
        job_id = JobId.of(signed.digest)
        if self._is_known(job_id):
            return job_id
        if order.not_after < self._now():  # (2)
            raise FreshnessError("freshness.order", expected="an order that may still run", seen=order.not_after)
        accepted = self._ask_broker(signed)  # (3)
        if (accepted.job_id, accepted.trainers) != (job_id, order.trainers):
            raise UnavailableError("unavailable.broker", expected=job_id, seen=accepted.job_id)
        job = NewJob(job_id, raw, order.owners, order.trainers, order.not_after, accepted.trust_level)
        if self._board.submit(job):  # (4)
            log_event(_log, "order_accepted", job_id=job_id, count=order.trainers)
        self._on_accepted()
        return job_id  # (5)

    def _open(self, signed: Signed, party: PartyKey | None) -> TrainingOrder:
        owners = set(TrainingOrder.decode(signed.payload).owners)
        order = open_signed(signed, TrainingOrder, owners, threshold=len(owners))
        if party is not None and party not in owners:
            raise PolicyError("policy.signer", expected="one of the order's owners", seen=party)
        if not any(self._registry.is_enrolled(owner) for owner in owners):
            raise NotFoundError("not_found.identity")
        return order

    def _is_known(self, job_id: JobId) -> bool:
        try:
            self._board.job(job_id)
        except NotFoundError:
            return False
        return True

    def _ask_broker(self, signed: Signed) -> OrderAccepted:
        body = AcceptOrder(order=signed, release=self._broker.release())
        request = BrokerRequest(nonce=secrets.token_bytes(32), body=body)
        answer = reply_of(self._broker.ask(request.encode()))
        if not isinstance(answer, OrderAccepted):
            raise UnavailableError("unavailable.broker", expected="order-accepted", seen=answer.type)
        return answer
