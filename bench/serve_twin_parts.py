"""The processes of the plain twin: front, worker, and what stands for the enclave (side: owner).

`python -m bench.serve_twin_parts PART SETTINGS`; each part ends when its stdin does.
"""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from client.measuring import CODE_ROOT
from common.bundle_packing import pack_bundle
from common.crypto.aead import BLOB_OVERHEAD
from common.crypto.signing import SigningKey
from common.door import Door
from common.exchange.steering import unpad_design
from common.exported_graph import open_exported
from common.identifiers import Digest, GrantId, ModelId, SessionId
from common.memory import keep_freed_memory
from common.messages.budget import BudgetBlock
from common.messages.order import AnswerTiming
from common.messages.policy import QueryGrant
from common.messages.query import ANSWER_MAGIC, HEADER_BYTES, QUERY_MAGIC, QueryProfile
from common.messages.signed import Signed, sign
from common.query_sealing import SessionCipher
from common.sandbox.native import DEFAULT_LIMITS, NativeQuerySandbox
from common.untrusted.database import Database
from common.untrusted.health import LOOPBACK, Readiness
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_server import serve
from common.untrusted.job_board import JobBoard
from common.untrusted.registry import Registry
from common.untrusted.settings import HostSettings
from services.query_enclave.answering import Answering
from services.query_enclave.app import QueryFront, build
from services.query_enclave.batch_size import compute_threads, questions_at_once
from services.query_enclave.departures import Timing
from services.query_enclave.enclave import DOOR_WORKERS
from services.query_enclave.front_desk import FrontDesk, Proof
from services.query_enclave.grants import GrantBudgets
from services.query_enclave.question_reader import QuestionReader, connect
from services.query_enclave.receipts import Receipts
from services.query_enclave.sessions import Session, SessionTable
from services.query_enclave.slots import Slots

_END_OF_TIME: Final = 1 << 40
_MANY: Final = 1 << 40


class TwinSettings(HostSettings):
    """What the parts are told. `bundle`: the provider's directory; `graph`, `state`: what it exports to, its values."""

    listen_port: int
    database_url: str
    redis_url: str
    model_id: ModelId
    answer_timing: AnswerTiming
    bundle: Path
    graph: Path
    state: Path

    def slots(self) -> Slots:
        """Where front and worker keep large bodies, as the product's do."""
        return Slots(self.graph.parent / "slots")

    @property
    def profile(self) -> QueryProfile:
        """As the enclave has it."""
        return QueryProfile.of(pack_bundle(self.bundle).manifest, "graph", self.answer_timing)


class PlainCipher:
    """Copies where a session's cipher seals and opens."""

    def __init__(self, profile: QueryProfile) -> None:
        self._question_end = HEADER_BYTES + profile.question_bytes

    def open_query(self, query: bytes) -> bytes:
        """The padded question."""
        return query[HEADER_BYTES : self._question_end]

    def seal_answer(self, query: bytes, padded: bytes, _digest: bytes | None = None) -> bytes:
        """The answer, as long as a sealed one."""
        return ANSWER_MAGIC + query[len(QUERY_MAGIC) : HEADER_BYTES] + padded + bytes(BLOB_OVERHEAD)


class PlainSessions:
    """A session of the product's for every id that a query names, with a cipher that copies."""

    def __init__(self, profile: QueryProfile, grant: Signed) -> None:
        self._cipher, self._grant, self._terms = PlainCipher(profile), grant, QueryGrant.decode(grant.payload)
        self._sessions: dict[SessionId, Session] = {}

    def find(self, name: SessionId) -> Session:
        """Everybody's, opened by nobody."""
        made = Session(cast("SessionCipher", self._cipher), self._grant, self._terms, Digest("0" * 64))
        return self._sessions.setdefault(name, made)


class NoReceipts:
    """What signs receipts, for users who ask for none."""

    def attach(self, _session: Session, _question: bytes, outcome: bytes) -> bytes:
        """The outcome."""
        return outcome


class EndlessBudget:
    """A broker that gives whatever is asked for, at once."""

    def draw(self, grant: Signed, _answers: int) -> BudgetBlock:
        """More than is asked for."""
        return BudgetBlock(grant_id=GrantId.of(grant.digest), answers=_MANY, remaining=_MANY, detail="scores")


class PlainDesk(FrontDesk):
    """A desk that knows one model's size by itself, for no launch proves anything here."""

    query_bytes = 0

    async def proof(self, model_id: ModelId) -> Proof:  # noqa: ARG002 - there is one model
        """Nothing proven."""
        return Proof(b"", self.query_bytes, _END_OF_TIME)


def front(settings: TwinSettings) -> None:
    """The product's front over a desk that asks for no proof."""
    database = Database(settings.database_url)
    desk, gate = (
        PlainDesk.connect(settings.redis_url, settings.slots()),
        RequestGate(Registry(database), remembered_seconds=60.0),
    )
    desk.query_bytes = settings.profile.query_bytes  # type: ignore[attr-defined]  # `connect` makes the base class
    app = build(QueryFront(desk, JobBoard(database), gate), desk, gate, Readiness({}))
    serve(app, LOOPBACK, settings.listen_port)


def worker(settings: TwinSettings, file: Path) -> None:
    """The product's reader before a door, behind which there is no enclave."""
    keep_freed_memory()
    command = [sys.executable, "-P", "-m", "bench.serve_twin_parts", "enclave", str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CODE_ROOT) as process:
        door = Door(cast("BinaryIO", process.stdout), cast("BinaryIO", process.stdin), {}, workers=DOOR_WORKERS)
        threading.Thread(target=door.serve, daemon=True).start()

        redis = connect(settings.redis_url)
        reader = QuestionReader(redis, settings.model_id, "twin", door.ask, settings.slots())
        reader.start()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        signal.sigwait({signal.SIGTERM})
        reader.stop()
        if process.stdin is not None:
            process.stdin.close()


def enclave(settings: TwinSettings) -> None:
    """The product's answering and sandbox, with nothing sealed, charged or proven."""
    keep_freed_memory()
    contents = pack_bundle(settings.bundle)
    exported = open_exported(unpad_design(settings.graph.read_bytes()), contents.manifest)
    state_P = exported.state(np.load(settings.state, allow_pickle=False))
    served, profile = exported.contents(), settings.profile
    questions = questions_at_once(served)
    limits = replace(DEFAULT_LIMITS, compute_threads=compute_threads(served, os.cpu_count() or 1))
    sandbox = NativeQuerySandbox.start(served, state_P, seed=1, limits=limits, rows=questions * profile.max_rows)
    sessions = PlainSessions(profile, nobodys_grant(settings.model_id))
    budgets = GrantBudgets(EndlessBudget(), _END_OF_TIME)
    answering = Answering(
        profile=profile,
        sessions=cast("SessionTable", sessions),
        budgets=budgets,
        sandbox=sandbox,
        now=lambda: 0,
        timing=Timing.of(profile),
        require_lease=lambda: None,
        receipts=cast("Receipts", NoReceipts()),
        questions=questions,
    )
    Door(os.fdopen(0, "rb"), os.fdopen(1, "wb"), {}, workers=DOOR_WORKERS, begun={"query": answering.begin}).serve()
    os._exit(0)


def nobodys_grant(model_id: ModelId) -> Signed:
    """One that nobody judges."""
    key, nothing = SigningKey.generate(), Digest("0" * 64)
    terms = QueryGrant(
        nonce=bytes(16), user=key.party, model_id=model_id, manifest=nothing, broker=key.party, release=nothing,
        answers=1, not_after=_END_OF_TIME,
    )  # fmt: skip
    return sign(terms, key)


def _end_with_stdin() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Be the part that is named."""
    part, file = sys.argv[1], Path(sys.argv[2])
    settings = TwinSettings.read(file)
    if part == "enclave":
        enclave(settings)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM} if part == "worker" else set())
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    if part == "worker":
        worker(settings, file)
    else:
        front(settings)


if __name__ == "__main__":
    main()
