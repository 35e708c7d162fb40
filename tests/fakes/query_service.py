"""A query service around a real query enclave process: only broker and trainers are played, by their own real code.

A finished job with the digits bundle is made at once: its state is random numbers, sealed as a parameter server seals
it. The broker's core runs in this process (tests/fakes/broker_world); worker and front are the services' own parts.
"""

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import uvicorn
from numpy.typing import NDArray

from client.query_client import QueryClient
from client.query_session import QueryPins, QuerySession, QueryUser
from common.bundle import BundleContents
from common.bundle_packing import pack_bundle
from common.crypto.keys import SecretKey
from common.dcap import NO_PLATFORM_RULES
from common.enclave.roles import ROLES as ENCLAVES
from common.identifiers import JobId, ModelId, RoleName
from common.messages.evidence import TrustLevel
from common.messages.jobs import Completed
from common.messages.objects import BundlePublication, ModelManifest, ObjectRef
from common.messages.order import AnswerTerms, AnswerTiming
from common.messages.reference_values import SgxReferenceValue
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from common.model_file import encode_model
from common.sandboxed.quantised_layout import Findings
from common.sealed_object import ObjectKind, SealedObject, seal_object
from common.untrusted.blobs import BlobStore
from common.untrusted.database import Database
from common.untrusted.health import Readiness
from common.untrusted.http_identity import RequestGate
from common.untrusted.job_board import JobBoard, NewJob
from common.untrusted.registry import Registry
from common.untrusted.relay import common_handlers
from services.query_enclave.app import QueryFront, build
from services.query_enclave.backlog import RedisLoad
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.leases import Leases
from services.query_enclave.placements import Placements
from services.query_enclave.question_reader import connect
from services.query_enclave.relay import QueryRelay, Service
from services.query_enclave.sharing import Sharing
from services.query_enclave.slots import Slots
from services.query_enclave.spare import SpareEnclave
from services.query_enclave.streams import BACKLOG
from tests.fakes.broker_world import MEASUREMENTS, PARAMSERVER, SCHEDULE, BrokerWorld, SealedBundle
from tests.fakes.installation import Installation

DIGITS: Final = Path(__file__).parents[2] / "examples" / "providers" / "digits_cnn"
READY_SECONDS: Final = 120.0


class Broker:
    """The way to the broker's core; `down` takes it away."""

    def __init__(self, world: BrokerWorld) -> None:
        self._world, self._lock = world, threading.Lock()

    def ask(self, raw: bytes) -> bytes:
        """One request."""
        with self._lock:
            return self._world.handle(raw)


class FinishedModel:
    """A job that is over, and its model in the object store, whose state is drawn by `seed`. `int8`: what was found of
    it, where it was ordered.
    """

    def __init__(
        self,
        world: BrokerWorld,
        store: BlobStore,
        contents: BundleContents,
        design: bytes = b"",
        answer_timing: AnswerTiming = "padded",
        int8: Findings | None = None,
        seed: int = 5,
    ) -> None:
        self._world, self._store, self.contents, self._design = world, store, contents, design
        self._answer_timing, self._int8 = answer_timing, int8
        count = contents.manifest.state_count
        self.state_P: NDArray[np.float32] = np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)
        sized = {"state_class": 1 << (count - 1).bit_length(), "quantising_ticks": 0 if int8 is None else 100}
        self.schedule = SCHEDULE.model_copy(update=sized)
        self.answers = AnswerTerms() if int8 is None else AnswerTerms(lowest="int8", held_out_percent=10)
        self.job_id = self._run_job()
        self.manifest = self._finish()

    @property
    def model_id(self) -> ModelId:
        """The model."""
        return ModelManifest.decode(self.manifest.payload).model_id

    def _run_job(self) -> JobId:
        world, key = self._world, SecretKey.generate()
        plain = world.seal_bundle()
        sealed = self._keep(seal_object(self.contents.encode(), key, ObjectKind.BUNDLE))
        publication = BundlePublication.decode(plain.publication.payload).model_copy(
            update={"object": sealed, "state_class": self.schedule.state_class}
        )
        bundle = SealedBundle(plain.provider, key, sign(publication, plain.provider.key), plain.terms)
        world.channel(bundle.provider).ask(world.bundle_registration(bundle), Registered)
        ordered = {"schedule": self.schedule, "answer_timing": self._answer_timing, "answers": self.answers}
        order = world.order(world.register_data(), bundle, **ordered)
        return world.accept(sign(order, world.owner.key)).job_id

    def _finish(self) -> Signed:
        server = self._world.launch(PARAMSERVER, self.job_id)
        payload, weights = encode_model(self.state_P, self.contents.manifest, self._design, self._int8)
        sealed = self._keep(seal_object(payload, server.keys["model"], ObjectKind.MODEL))
        body = self._world.completion(server, object=sealed, weights=weights, answers_in=self.answers.lowest)
        self._world.channel().ask(body, Completed)
        assert body.manifest is not None
        return body.manifest

    def _keep(self, sealed: SealedObject) -> ObjectRef:
        for number, leaf in enumerate(sealed.leaves()):
            self._store.write_leaf(sealed.root, number, leaf)
        self._store.commit(sealed.root, sealed.chunk_count + 1)
        return ObjectRef(root=sealed.root, chunk_count=sealed.chunk_count)


class QueryService:
    """Installation, broker, one model or `versions` of it, worker and front. Make it with `running`.

    Each model is of the digits bundle, answered by its code, or of `contents`, answered by the graph in `document`, in
    `int8` if that was found.
    """

    def __init__(
        self,
        state: Path,
        redis_url: str,
        contents: BundleContents | None = None,
        document: bytes = b"",
        answer_timing: AnswerTiming = "padded",
        int8: Findings | None = None,
        versions: int = 1,
        backlog: int = BACKLOG,
        *,
        spare: bool = False,
    ) -> None:
        self.installation = Installation.make(state, ENCLAVES["query"])
        self.world = BrokerWorld(state)
        self.world.answers_total = 1 << 20
        measured = self.installation.release.measurements[RoleName("query")][TrustLevel.SIMULATION]
        assert isinstance(measured, SgxReferenceValue)
        self.world.release = self.world.sign_release(MEASUREMENTS | {"query": measured.mr_enclave})
        self.store = BlobStore(state / "objects")
        made = (self.world, self.store, contents or pack_bundle(DIGITS), document, answer_timing, int8)
        self.models = [FinishedModel(*made, seed=5 + version) for version in range(versions)]
        self.model = self.models[0]
        self.slots = Slots(state / "slots")
        self.redis = connect(redis_url)
        database = Database(f"sqlite:///{state / 'registry.sqlite'}")
        self.registry = Registry(database)
        self.registry.enrol(self.world.user.party, 1 << 20)
        self.leases = Leases(self.redis, "query-test")
        self.broker = Broker(self.world)
        handlers = common_handlers(self.store, self.broker)
        self.launcher = self.installation.settings(ENCLAVES["query"])
        service = Service(self.launcher, handlers, self.redis, "query-test", self.slots)
        self.spare = SpareEnclave(service.launch)
        service = replace(service, spare=self.spare if spare else None)
        self.relays: list[QueryRelay] = []
        self.placements = Placements(
            lambda: {one.model_id: one.job_id for one in self.models},
            functools.partial(self._launch, service),
            self.leases,
            capacity=versions,
            prepare=self.spare.prepare if spare else lambda: None,
        )
        desk, gate = FrontDesk.connect(redis_url, self.slots, backlog=backlog), RequestGate(self.registry)
        board = JobBoard(database)
        self._record(board)
        self.front = QueryFront(desk, board, gate)
        self.app = build(self.front, desk, gate, Readiness({}))
        self.url = ""

    def _record(self, board: JobBoard) -> None:
        """The job is over, and its model one that a front knows, also while no launch serves it."""
        for one in self.models:
            model = ModelManifest.decode(one.manifest.payload)
            owners, until = [self.world.owner.party], self.world.time + 3600
            board.submit(NewJob(one.job_id, b"an order", owners, 1, until, "simulation"))
            board.finish(one.job_id, "finished", model=(model.model_id, one.manifest.encode(), model.object.root))

    def _launch(self, service: Service, *of: object) -> QueryRelay:
        self.relays.append(QueryRelay.start(service, *of))  # type: ignore[arg-type]
        return self.relays[-1]

    @contextlib.contextmanager
    def running(self) -> Iterator["QueryService"]:
        """Worker threads and front, until the end of the block; the model is placed by then."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(self.app, log_config=None, access_log=False))
        threads = [
            threading.Thread(target=self.placements.run),
            threading.Thread(target=self.leases.run),
            threading.Thread(target=server.run, kwargs={"sockets": [listener]}),
        ]
        for thread in threads:
            thread.start()
        try:
            self.await_placed(len(self.models))
            yield self
        finally:
            server.should_exit = True
            self.placements.stop()
            self.leases.stop()
            for thread in threads:
                thread.join()
            self.spare.close()

    @contextlib.contextmanager
    def another_worker(self, name: str) -> Iterator[Placements]:
        """A worker beside the first one, with room for every model, until the end of the block."""
        leases = Leases(self.redis, name)
        service = Service(self.launcher, common_handlers(self.store, self.broker), self.redis, name, self.slots)
        placements = Placements(
            lambda: {one.model_id: one.job_id for one in self.models},
            functools.partial(self._launch, service),
            leases,
            capacity=len(self.models),
            sharing=Sharing(RedisLoad(self.redis), leases.withdraw),
        )
        threads = [threading.Thread(target=placements.run), threading.Thread(target=leases.run)]
        for thread in threads:
            thread.start()
        try:
            yield placements
        finally:
            placements.stop()
            threads[0].join()
            leases.stop()
            threads[1].join()

    def await_placed(self, launches: int) -> None:
        """Wait until the model was placed so many times."""
        end = time.monotonic() + READY_SECONDS
        while len(self.relays) < launches:
            assert time.monotonic() < end, "the model was not placed"
            time.sleep(0.05)

    @property
    def pins(self) -> QueryPins:
        """What the user holds fixed."""
        return QueryPins(self.world.release, self.world.trust, TrustLevel.SIMULATION, NO_PLATFORM_RULES)

    def session(self, grant: Signed | None = None) -> QuerySession:
        """The user's session over HTTP."""
        key = self.world.user.key
        user = QueryUser(key, grant or self.world.grant(self.model.manifest), self.pins)
        return QuerySession.open(QueryClient(self.url, key), user, now=lambda: float(self.world.time))
