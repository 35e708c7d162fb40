"""A query enclave's surroundings on test keys: everything but the sandbox and the process boundary is the real code.

The platform is a simulated one with real quotes; owner, broker, user, release and parameter server sign with real keys.
`LinearModel` stands for provider code: it keeps the QuerySandbox protocol and computes W x.
"""

import math
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
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.errors import FreshnessError, NotFoundError, PolicyError, refusal_of
from common.identifiers import BundleId, DatasetId, Digest, GrantId, JobId, ModelId, MrEnclave, RoleName
from common.messages.attestation import BudgetBlock, LaunchBinding, Placement, QueryEnclaveProof
from common.messages.evidence import TrustLevel
from common.messages.objects import ModelManifest, ObjectRef
from common.messages.order import Schedule
from common.messages.policy import AnswerDetail, QueryGrant
from common.messages.query import QueryProfile
from common.messages.reference_values import SgxReferenceValue
from common.messages.release import Release
from common.messages.signed import Signed, sign
from common.sandbox.protocol import QueryOutcome
from services.query_enclave.answering import Answering, Timing
from services.query_enclave.grants import GrantBudgets, Placed
from services.query_enclave.sessions import SessionTable

FEATURES, CLASSES, ROWS = 6, 3, 4
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
    """W x, or the outcome code that was set; counts what it computed."""

    def __init__(self) -> None:
        self.calls = 0
        self.code: str | None = None

    def answer(self, input_NX: NDArray[np.generic], deadline_seconds: float) -> QueryOutcome:
        """Scores of each row."""
        if deadline_seconds <= 0:
            raise ValueError("a query has time")
        self.calls += 1
        if self.code is not None:
            return QueryOutcome(code=self.code)
        return QueryOutcome(answer_NA=(input_NX.astype(np.float32) @ WEIGHTS_CF.T).astype(np.float32))

    def close(self) -> None:
        """Nothing runs."""


@dataclass
class Ledger:
    """The broker's side of budgets: what a grant allows is handed out in blocks, once."""

    drawn: dict[GrantId, int] = field(default_factory=dict)
    draws: int = 0
    detail: AnswerDetail = "scores"
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
        if block == 0:
            raise PolicyError("policy.budget")
        self.drawn[name] = self.drawn.get(name, 0) + block
        detail: AnswerDetail = "label" if "label" in {self.detail, terms.detail} else "scores"
        return BudgetBlock(grant_id=name, answers=block, remaining=total - self.drawn[name], detail=detail)


class VirtualClock:
    """Monotonic time that only `sleep` and `advance` move."""

    def __init__(self) -> None:
        self.at = 100.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.slept.append(seconds)
        self.at += seconds


class Launch:
    """One query enclave launch in this process, and a QueryTransport to it."""

    def __init__(self, world: "QueryWorld", **placement: Any) -> None:
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
        self.evidence = world.platform.evidence(MEASUREMENT, self.binding.report_data())
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
        self.sessions = SessionTable(placed, self.wrapping, PROFILE, world.now)
        timing = Timing(0.05, 5.0, monotonic=lambda: self.clock.at, sleep=self.clock.sleep)
        self.answering = Answering(
            PROFILE, self.sessions, GrantBudgets(world.ledger), self.model, world.now, timing, world.require_lease
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
        self.sent.append((path, body))
        answer = self.sessions.open(body) if path.endswith("/sessions") else self.answering.answer(body)
        self.received.append(answer)
        return answer


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
        self.pins = QueryPins(self.release, self.trust, TrustLevel.SIMULATION)
        self.manifest = self.make_manifest(b"model one")
        self.later = 0
        self.lease_is_over = False

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

    def launch(self, **placement: Any) -> Launch:
        """A query enclave for the model; `placement` changes what the broker's document says."""
        return Launch(self, **placement)

    def session(self, launch: Launch, grant: Signed | None = None) -> QuerySession:
        """A user's session; its pauses take no time."""
        user = QueryUser(self.user, grant or self.grant(), self.pins)
        return QuerySession.open(launch, user, pause=lambda _seconds: None)


def rows_of(count: int) -> NDArray[np.float32]:
    """`count` different rows."""
    return np.arange(count * FEATURES, dtype=np.float32).reshape(count, FEATURES) / math.pi
