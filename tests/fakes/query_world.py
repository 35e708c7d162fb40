"""A query enclave's surroundings on test keys: everything but the sandbox and the process boundary is the real code.

The platform is a simulated one with real quotes; owner, broker, user, release and parameter server sign with real keys.
`LinearModel` stands for provider code: it keeps the QuerySandbox protocol and computes W x.
"""

import math
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.query_session import QueryPins, QuerySession, QueryUser
from common.bundle import TensorSpec
from common.crypto.digests import sha256, sha256_raw
from common.crypto.signing import SigningKey
from common.crypto.wrapping import WrappingKey
from common.dcap import NO_PLATFORM_RULES
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.errors import FreshnessError, NotFoundError, PolicyError, Refusal, refusal_of
from common.identifiers import BundleId, DatasetId, Digest, GrantId, JobId, ModelId, MrEnclave, RoleName
from common.messages.answer_bounds import NO_ANSWER_BOUNDS, AnswerBounds
from common.messages.bounds import tightest
from common.messages.budget import BudgetBlock
from common.messages.evidence import Evidence, TrustLevel
from common.messages.launch_binding import LaunchBinding
from common.messages.objects import ModelManifest, ObjectRef
from common.messages.order import AnswerTiming, Schedule
from common.messages.placement import Placement, QueryEnclaveProof
from common.messages.policy import AnswerDetail, QueryGrant
from common.messages.query import QueryProfile
from common.messages.query_batch import encode_answers, split_queries
from common.messages.reference_values import SgxReferenceValue
from common.messages.release import Release
from common.messages.signed import Signed, sign
from common.sandbox.protocol import QueryOutcome
from services.query_enclave.answering import Answering
from services.query_enclave.departures import Timing
from services.query_enclave.grants import GrantBudgets, Placed
from services.query_enclave.receipts import Receipts
from services.query_enclave.sessions import SessionTable

FEATURES, CLASSES, ROWS = 6, 3, 4
LEASE_SECONDS = 180
"""As the broker's terms say it to each launch of this world."""

PROFILE = QueryProfile(
    input=TensorSpec(shape=(FEATURES,), dtype="float32"),
    answer=TensorSpec(shape=(CLASSES,), dtype="float32"),
    max_rows=ROWS,
)
WEIGHTS_CF = np.linspace(-1, 1, CLASSES * FEATURES, dtype=np.float32).reshape(CLASSES, FEATURES)
MEASUREMENT = MrEnclave("5a" * 32)
_SCHEDULE = Schedule(
    rounds=1,
    steps_per_round=1,
    batch_rows=1,
    tick_milliseconds=50,
    ticks_per_round=1,
    frames_per_tick=1,
    frame_bytes=1024,
    reads_per_tick=1,
    state_class=1,
)


class LinearModel:
    """W x, or the outcome code that was set; counts what it computed. As a real one it fails where a score is none."""

    def __init__(self) -> None:
        self.calls = 0
        self.code: str | None = None
        self.units: list[NDArray[np.generic]] = []

    def answer(self, input_NX: NDArray[np.generic], deadline_seconds: float) -> QueryOutcome:
        """Scores of each row."""
        if deadline_seconds <= 0:
            raise ValueError("a query has time")
        self.calls += 1
        self.units.append(np.array(input_NX))
        if self.code is not None:
            return QueryOutcome(code=self.code)
        with np.errstate(all="ignore"):
            answer_NA = (input_NX.astype(np.float32) @ WEIGHTS_CF.T).astype(np.float32)
        return QueryOutcome(answer_NA) if np.isfinite(answer_NA).all() else QueryOutcome(code="provider.output")

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class Ledger:
    """The broker's side of budgets: what a grant allows is handed out in blocks, once."""

    drawn: dict[GrantId, int] = field(default_factory=dict)
    draws: int = 0
    detail: AnswerDetail = "scores"
    bounds: AnswerBounds = NO_ANSWER_BOUNDS
    refusal: str | None = None

    def draw(self, grant: Signed, answers: int) -> BudgetBlock:
        """A block of what is left; `policy.budget` when nothing is."""
        self.draws += 1
        if self.refusal is not None:
            raise refusal_of(self.refusal)
        name = GrantId.of(grant.digest)
        terms = QueryGrant.decode(grant.payload)
        total = terms.answers
        block = min(answers, total - self.drawn.get(name, 0))
        if answers and block == 0:
            raise PolicyError("policy.budget")
        self.drawn[name] = self.drawn.get(name, 0) + block
        detail: AnswerDetail = "label" if "label" in {self.detail, terms.detail} else "scores"
        bounds = tightest(AnswerBounds, (self.bounds, terms.answer_bounds))
        return BudgetBlock(
            grant_id=name, answers=block, remaining=total - self.drawn[name], detail=detail, bounds=bounds
        )


class VirtualClock:
    """Monotonic time that only `wait`, `sleep`, and whoever sets it, moves."""

    def __init__(self) -> None:
        self.at = 100.0

    def wait(self, _condition: threading.Condition, seconds: float) -> None:
        """Move on."""
        self.at += seconds

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.at += seconds


class Launch:
    """One query enclave launch in this process, and a QueryTransport to it.

    With `questions` a graph answers, so many questions at once.
    """

    def __init__(
        self,
        world: "QueryWorld",
        questions: int | None = None,
        answer_timing: AnswerTiming = "padded",
        **placement: Any,
    ) -> None:
        profile = PROFILE.model_copy(
            update={"answered_by": "code" if questions is None else "graph", "answer_timing": answer_timing}
        )
        self.signing, self.wrapping, self.model, self.clock = (
            SigningKey.generate(),
            WrappingKey.generate(),
            LinearModel(),
            VirtualClock(),
        )
        self.binding = LaunchBinding(
            nonce=bytes(32),
            broker=Digest("b0" * 32),
            role=RoleName("query"),
            subject=world.manifest.digest,
            slot=0,
            attempt=0,
            wrapping_public=self.wrapping.public,
            signing_public=self.signing.party,
        )
        self.evidence: Evidence = world.platform.evidence(MEASUREMENT, self.binding.report_data())
        terms = {
            "model_id": world.model_id,
            "manifest": world.manifest.digest,
            "launch": self.signing.party,
            "report_data": self.binding.report_data(),
            "grant_authorities": (world.owner.party,),
            "release": world.release.digest,
            "trust_level": "simulation",
            "witnessed": True,
            "not_after": int(time.time()) + 3600,
        }
        self.placement = sign(Placement.model_validate(terms | placement), world.broker)
        placed = Placed(Placement.decode(self.placement.payload), self.placement.digest, world.broker.party)
        self.receipts = Receipts(self.signing, MEASUREMENT, placed, profile, world.now)
        self.sessions = SessionTable(placed, self.wrapping, profile, world.now)
        quantum = 0.05 if Timing.of(profile).quantum_seconds else 0.0
        timing = Timing(quantum, quantum, 5.0, monotonic=lambda: self.clock.at, wait=self.clock.wait)
        self.answering = Answering(
            profile,
            self.sessions,
            GrantBudgets(world.ledger, LEASE_SECONDS, lambda: self.clock.at),
            self.model,
            world.now,
            timing,
            world.require_lease,
            self.receipts,
            questions=questions or 1,
        )
        self.manifest = world.manifest
        self.sent: list[tuple[str, bytes]] = []
        self.received: list[bytes] = []

    @property
    def proof(self) -> QueryEnclaveProof:
        """What a user verifies."""
        return QueryEnclaveProof(
            binding=self.binding,
            evidence=self.evidence,
            placement=self.placement,
            manifest=self.manifest,
            query_bytes=PROFILE.query_bytes,
            answer_bytes=PROFILE.answer_bytes,
        )

    def get(self, path: str) -> bytes:
        """The proof."""
        if not path.endswith("/proof"):
            raise NotFoundError("not_found.model")
        return self.proof.encode()

    def post(self, path: str, body: bytes) -> bytes:
        """What the enclave answers."""
        path = path.partition("?")[0]
        self.sent.append((path, body))
        answer = self._answer(path.rpartition("/")[2], body)
        self.received.append(answer)
        return answer

    def _answer(self, route: str, body: bytes) -> bytes:
        if route == "sessions":
            return self.sessions.open(body)
        if route == "queries":
            return self.answering.answer(body)
        assert route == "batches"
        return encode_answers([self._or_refusal(one) for one in split_queries(body, PROFILE.query_bytes)])

    def _or_refusal(self, query: bytes) -> bytes | Refusal:
        try:
            return self.answering.answer(query)
        except Refusal as refusal:
            return refusal


class QueryWorld:
    """Parties, release, platform and one model; `launch` starts a query enclave for it."""

    def __init__(self, directory: Path) -> None:
        self.platform = SimulatedPlatform.open_or_create(directory / "platform")
        self.owner, self.broker, self.user = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
        self.release_key, self.ledger = SigningKey.generate(), Ledger()
        self.trust = TrustSettings(
            release_keys=(self.release_key.party,),
            release_threshold=1,
            allowed_roots=(self.platform.allowed_root,),
            production=False,
        )
        self.release = self.sign_release(MEASUREMENT)
        self.pins = QueryPins(self.release, self.trust, TrustLevel.SIMULATION, NO_PLATFORM_RULES)
        self.manifest = self.make_manifest(b"model one")
        self.later = 0
        self.lease_is_over = False
        self.launches: list[Launch] = []

    def now(self) -> int:
        """The time inside the enclave; `later` moves it on."""
        return int(time.time()) + self.later

    def require_lease(self) -> None:
        """The launch's lease; `lease_is_over` ends it."""
        if self.lease_is_over:
            raise FreshnessError("freshness.lease")

    @property
    def model_id(self) -> ModelId:
        """The model of `manifest`."""
        return ModelManifest.decode(self.manifest.payload).model_id

    def sign_release(self, measurement: MrEnclave) -> Signed:
        """A release whose query enclave measures so."""
        reference = SgxReferenceValue(mr_enclave=measurement)
        return sign(
            Release(
                name="test", tag="1", created=1, measurements={RoleName("query"): {TrustLevel.SIMULATION: reference}}
            ),
            self.release_key,
        )

    def make_manifest(self, name: bytes) -> Signed:
        """A model manifest as a parameter server signs it."""
        digest = sha256(name)
        return sign(
            ModelManifest(
                model_id=ModelId.of(digest),
                job_id=JobId.of(digest),
                order=digest,
                datasets=(DatasetId.of(digest),),
                data_roots=(digest,),
                bundle=BundleId.of(digest),
                bundle_root=digest,
                object=ObjectRef(root=digest, chunk_count=1),
                weights=Digest.of(sha256_raw(WEIGHTS_CF.tobytes())),
                schedule=_SCHEDULE,
                trust_level="simulation",
                members=(),
                created=1,
            ),
            SigningKey.generate(),
        )

    def grant(self, **changes: Any) -> Signed:
        """The owner's grant for the user."""
        terms = {
            "nonce": bytes(16),
            "user": self.user.party,
            "model_id": self.model_id,
            "manifest": self.manifest.digest,
            "broker": self.broker.party,
            "release": self.release.digest,
            "answers": 100,
            "not_after": int(time.time()) + 3600,
        }
        return sign(QueryGrant.model_validate(terms | changes), self.owner)

    def launch(self, questions: int | None = None, answer_timing: AnswerTiming = "padded", **placement: Any) -> Launch:
        """A query enclave for the model; `placement` changes what the broker's document says."""
        self.launches.append(Launch(self, questions, answer_timing, **placement))
        return self.launches[-1]

    def close(self) -> None:
        """End the threads of all launches."""
        for launch in self.launches:
            launch.answering.close()

    def session(self, launch: Launch, grant: Signed | None = None) -> QuerySession:
        """A user's session; its pauses take no time."""
        user = QueryUser(self.user, grant or self.grant(), self.pins)
        return QuerySession.open(launch, user, pause=lambda _seconds: None)


def rows_of(count: int) -> NDArray[np.float32]:
    """`count` different rows."""
    return np.arange(count * FEATURES, dtype=np.float32).reshape(count, FEATURES) / math.pi
