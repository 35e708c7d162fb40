"""The query enclave: one launch serves one model (side: enclave).

Holds: what services/query_enclave names.  Door: `place` once, then `proof`, `session`, `query`; `status` at any time.
`place` attests to the broker, opens bundle and model, and starts the sandbox; before it has succeeded nothing else
answers. A launch that could not be placed ends with its relay: there is no second try under the same keys.
"""

import math
import os
import secrets
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, Literal

from common.door import Door
from common.door_objects import DoorObjects
from common.enclave.gramine import is_gramine
from common.enclave.runtime import EnclaveRuntime, current_runtime
from common.errors import AppraisalError, ConflictError, UnavailableError
from common.identifiers import CodeMeasurement, ModelId, RoleName
from common.key_retrieval import BrokerChannel, Launch, attest_and_fetch
from common.leakage import AnswerSize
from common.lease import LeaseKeeper
from common.memory import keep_freed_memory
from common.messages.budget import BudgetBlock, DrawBudget
from common.messages.enclave_events import EnclaveReady, LeaseEnded, ModelOpened
from common.messages.order import TrainingOrder
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.query import PlaceModel, QueryEnclaveStatus, QueryProfile
from common.messages.signed import Signed, open_signed
from common.sandbox.enclosed import EnclosedQuerySandbox
from common.sandbox.native import DEFAULT_LIMITS, NativeQuerySandbox
from common.sandbox.probe import require_confinement
from common.sandbox.protocol import QuerySandbox, SandboxLimits
from common.sandboxed.landlock import landlock_abi
from services.query_enclave.answering import Answering
from services.query_enclave.batch_size import compute_threads
from services.query_enclave.departures import Timing
from services.query_enclave.grants import GrantBudgets, Placed
from services.query_enclave.model import NoModel, OpenedModel, open_model
from services.query_enclave.receipts import Receipts
from services.query_enclave.sessions import SessionTable

ROLE: Final = RoleName("query")
DOOR_WORKERS: Final = 8
BROKER_SECONDS: Final = 10.0
"""How long a draw may take: less than a user's request waits."""


class LowerBoundClock:
    """Time as an enclave knows it: the host's, but never earlier than seen before (ARCHITECTURE, decision 8)."""

    def __init__(self) -> None:
        self._newest = 0
        self._lock = threading.Lock()

    def now(self) -> int:
        """Unix time in seconds, a lower bound."""
        with self._lock:
            self._newest = max(self._newest, int(time.time()))
            return self._newest


class BrokerBudgets:
    """Draws budget blocks under this launch's signature, for answers of the model's size."""

    def __init__(self, channel: BrokerChannel, launch: Launch, model_id: ModelId, size: AnswerSize) -> None:
        self._channel, self._launch, self._model_id, self._size = channel, launch, model_id, size

    def draw(self, grant: Signed, answers: int) -> BudgetBlock:
        """At most `answers` answers under `grant`, 0 to hear whether it still holds.

        Raises the broker's refusal, `UnavailableError` when it is away.
        """
        nonce = secrets.token_bytes(32)
        statement = self._launch.state_draw(self._model_id, grant.digest, answers, self._size, nonce)
        body = DrawBudget(
            model_id=self._model_id,
            grant=grant,
            answers=answers,
            classes=self._size.classes,
            row_bytes=self._size.row_bytes,
            launch=self._launch.signing_key.party,
            statement=statement,
        )
        try:
            return self._channel.ask_with_nonce(nonce, body, BudgetBlock)
        except TimeoutError as cause:
            raise UnavailableError("unavailable.broker") from cause


@dataclass(frozen=True)
class Serving:
    """What a placed launch answers with."""

    proof: bytes
    sessions: SessionTable
    answering: Answering


class QueryEnclave:
    """The handlers of the door."""

    def __init__(self, runtime: EnclaveRuntime, reader: BinaryIO, writer: BinaryIO) -> None:
        self._runtime = runtime
        self._begun = threading.Lock()
        self._serving: Serving | None = None
        handlers = {"place": self.place, "proof": self.proof, "session": self.session, "status": self.status}
        self.door = Door(reader, writer, handlers, workers=DOOR_WORKERS, begun={"query": self.query})

    def place(self, body: bytes) -> bytes:
        """Serve the model that is asked for; the proof. Raises what attesting and opening raise, once."""
        asked = PlaceModel.decode(body)
        require_confinement()  # before keys are asked for, and without using the launch up
        if not self._begun.acquire(blocking=False):
            raise ConflictError("conflict.placement", expected="a launch that serves nothing yet")
        channel = BrokerChannel(lambda raw: self.door.call("broker.ask", raw, seconds=BROKER_SECONDS))
        launch = attest_and_fetch(self._runtime, channel, ROLE, asked.job_id, 0)
        placed = _placed(launch, channel)
        model = open_model(launch, placed.placement, asked.model_id, DoorObjects(self.door))
        lease = LeaseKeeper.begin(launch, self._runtime, channel, self._end)
        self._serving = _serve(launch, channel, placed, model, lease, self._runtime.measurement)
        self.door.log(ModelOpened(model_id=asked.model_id, job_id=asked.job_id))
        return self._serving.proof

    def _end(self, code: str) -> None:
        """The lease is over: the process ends, and with it all that it held. Its relay may begin another."""
        self.door.log(LeaseEnded(role="query", code=code))
        os._exit(0)

    def proof(self, _body: bytes) -> bytes:
        """The proof again."""
        return self._require_serving().proof

    def session(self, body: bytes) -> bytes:
        """A session open message; the sealed reply."""
        return self._require_serving().sessions.open(body)

    def query(self, body: bytes) -> Future[bytes]:
        """A query; the sealed answer, when it is time for it to leave."""
        return self._require_serving().answering.begin(body)

    def status(self, _body: bytes) -> bytes:
        """QueryEnclaveStatus. Raises `ConfinementError` where this machine can't confine provider code."""
        require_confinement()
        serving = self._serving
        sessions = 0 if serving is None else len(serving.sessions)
        return QueryEnclaveStatus(placed=serving is not None, sessions=sessions).encode()

    def _require_serving(self) -> Serving:
        if self._serving is None:
            raise UnavailableError("unavailable.enclave")
        return self._serving


def _placed(launch: Launch, channel: BrokerChannel) -> Placed:
    if launch.placement is None or channel.broker is None:
        raise AppraisalError("appraisal.placement", expected="a placement")
    placement = open_signed(launch.placement, Placement, [channel.broker])
    return Placed(placement, launch.placement.digest, channel.broker)


def _serve(
    launch: Launch,
    channel: BrokerChannel,
    placed: Placed,
    model: OpenedModel,
    lease: LeaseKeeper,
    measurement: CodeMeasurement,
) -> Serving:
    order = TrainingOrder.decode(launch.terms.order.payload)
    answered_by: Literal["code", "graph"] = "code" if model.by_provider_code else "graph"
    profile = QueryProfile.of(model.contents.manifest, answered_by, order.answer_timing)
    clock = LowerBoundClock()
    sandbox = _start_sandbox(model, DEFAULT_LIMITS.within(launch.terms.sandbox_bounds))
    sessions = SessionTable(placed, launch.wrapping_key, profile, clock.now)
    size = AnswerSize(math.prod(profile.answer.shape), profile.answer.row_bytes)
    budgets = GrantBudgets(BrokerBudgets(channel, launch, placed.model_id, size), launch.terms.lease_seconds)
    answering = Answering(
        profile,
        sessions,
        budgets,
        sandbox,
        clock.now,
        Timing.of(profile),
        lease.require,
        Receipts(launch.signing_key, measurement, placed, profile, clock.now),
        questions=model.questions_at_once,
    )
    return Serving(_proof(launch, model, profile).encode(), sessions, answering)


def _start_sandbox(model: OpenedModel, limits: SandboxLimits) -> QuerySandbox:
    if model.served is None:
        return NoModel()
    rows = model.questions_at_once * model.served.manifest.query_rows
    if is_gramine():
        return EnclosedQuerySandbox.start(model.served, model.state_P, rows=rows)
    return NativeQuerySandbox.start(
        model.served,
        model.state_P,
        seed=secrets.randbits(63),
        limits=replace(limits, compute_threads=compute_threads(model.served, os.cpu_count() or 1)),
        rows=rows,
        precision=model.precision,
        ranges=model.ranges,
    )


def _proof(launch: Launch, model: OpenedModel, profile: QueryProfile) -> QueryEnclaveProof:
    if launch.placement is None:
        raise RuntimeError("a launch is placed before it proves it")
    return QueryEnclaveProof(
        binding=launch.binding,
        evidence=launch.evidence,
        placement=launch.placement,
        manifest=model.manifest,
        query_bytes=profile.query_bytes,
        answer_bytes=profile.answer_bytes,
    )


def main() -> None:
    """Entry point of the measured process: its door is its stdin and stdout."""
    keep_freed_memory()
    enclave = QueryEnclave(current_runtime(), os.fdopen(0, "rb"), os.fdopen(1, "wb"))
    enclave.door.log(EnclaveReady(role="query", landlock_abi=landlock_abi()))
    enclave.door.serve()
    os._exit(0)  # threads that answer, and the sandbox, must not outlive the door


if __name__ == "__main__":
    main()
