"""A key broker and everybody who talks to it, on test keys: real documents, real signatures, real simulated quotes.

The broker's core runs in this process behind its byte interface; only the process boundary is missing. What the host
would do (carry, drop, replay, restore old state) the test does with `BrokerWorld.ask` and `MemoryStore`.
"""

import itertools
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from common.broker_channel import BrokerChannel, open_reply, require_not_older
from common.broker_statements import draw_budget_parts, head_seen_parts
from common.crypto.digests import sha256
from common.crypto.key_file import Identity
from common.crypto.keys import KeyRing, SecretKey
from common.crypto.labels import LAUNCH_STATEMENT, LOG_HEAD_SEEN
from common.crypto.signing import SigningKey
from common.crypto.wrapping import wrap, wrap_ring
from common.enclave.simulated_platform import SimulatedPlatform
from common.enclave.trust_settings import TrustSettings
from common.identifiers import BundleId, DatasetId, Digest, JobId, MrEnclave, PartyKey, RoleName
from common.key_binding import bundle_key_info, data_key_info, order_secret_info, policy_info
from common.key_retrieval import Launch, attest_and_fetch
from common.leakage import AnswerSize
from common.messages.broker_exchange import BrokerReply, BrokerRequest, RequestBody
from common.messages.broker_identity import BrokerDescription, DescribeBroker, Genesis, current_wrapping_key
from common.messages.budget import BudgetBlock, DrawBudget
from common.messages.evidence import AllowedRoot, DcapQuote, SgxDcapEvidence, TrustLevel
from common.messages.jobs import AcceptOrder, Completed, CompleteJob, OrderAccepted
from common.messages.log_heads import Confirmed, ConfirmHead, LogHead
from common.messages.objects import BundlePublication, DatasetManifest, ModelManifest, ObjectRef
from common.messages.order import OrderSecret, SandboxName, Schedule, TrainingOrder
from common.messages.policy import BundleRetirement, BundleTerms, DataPolicy, QueryGrant, Revocation
from common.messages.reference_values import ReferenceValue, SgxReferenceValue
from common.messages.registration import (
    BundleRetired,
    RegisterBundle,
    RegisterDataset,
    Registered,
    RetireBundle,
    UpdatePolicy,
    UpdateTerms,
)
from common.messages.release import Release
from common.messages.revocation import Revoke, Revoked
from common.messages.serving import ServedModel, ServedName, ServingRecord, ServingShown, SetServing
from common.messages.signed import Signed, sign
from services.attestation.context import BrokerContext, Platform, WitnessRule
from services.attestation.key_broker import KeyBroker

ROLES: Final = ("broker", "trainer", "paramserver", "query")
MEASUREMENTS: Final = {role: MrEnclave(sha256(role.encode())) for role in ROLES}
SCHEDULE: Final = Schedule(
    rounds=2, steps_per_round=3, batch_rows=8, tick_milliseconds=50, ticks_per_round=4, frames_per_tick=1,
    frame_bytes=4096, reads_per_tick=1, state_class=4096,
)  # fmt: skip
ANSWER: Final = AnswerSize(classes=10, row_bytes=40)
TRAINER, PARAMSERVER, QUERY = RoleName("trainer"), RoleName("paramserver"), RoleName("query")


class MemoryStore:
    """The host's disk, which has what was settled; `copy` is what a hostile host keeps for later."""

    def __init__(
        self,
        blobs: Iterable[bytes] = (),
        entries: Iterable[bytes] = (),
        packages: Mapping[DatasetId, bytes] = MappingProxyType({}),
    ) -> None:
        self.blobs, self.entries, self.packages = list(blobs), list(entries), dict(packages)
        self._queue = deque[tuple[bytes, bytes]]()
        self._settling = threading.Lock()

    def load(self) -> Iterable[bytes]:
        return list(self.blobs)

    def append(self, entry: bytes, blob: bytes) -> None:
        self._queue.append((entry, blob))

    def settle(self) -> None:
        with self._settling:
            while self._queue:
                entry, blob = self._queue.popleft()
                self.entries.append(entry)
                self.blobs.append(blob)

    def replace(self, first: int, entries: Sequence[bytes], blobs: Iterable[bytes]) -> None:
        self.settle()
        self.blobs = list(blobs)
        self.entries = [*self.entries[:first], *entries]

    def keep_package(self, dataset_id: DatasetId, package: bytes) -> None:
        self.settle()
        self.packages[dataset_id] = package
        if not package:
            del self.packages[dataset_id]

    @property
    def entry_count(self) -> int:
        return len(self.entries)

    def read_entry(self, number: int) -> bytes:
        return self.entries[number]

    def copy(self) -> "MemoryStore":
        return MemoryStore(self.blobs, self.entries, self.packages)


@dataclass(frozen=True)
class TestRuntime:
    """`EnclaveRuntime` of an enclave that measures so, on a simulated platform."""

    __test__ = False

    platform: SimulatedPlatform
    measurement: MrEnclave
    trust_settings: TrustSettings
    trust_level: TrustLevel = TrustLevel.SIMULATION

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        return self.platform.evidence(self.measurement, report_data)

    def sealing_key(self, label: bytes) -> SecretKey:
        return SecretKey(self.platform.sealing_key(self.measurement, label))


@dataclass(frozen=True)
class BareRuntime(TestRuntime):
    """The same on hardware, whose quotes carry no collateral."""

    def evidence(self, report_data: bytes) -> Any:
        return DcapQuote(quote=super().evidence(report_data).quote)


@dataclass(frozen=True)
class Party:
    """An owner, provider or user."""

    identity: Identity = field(default_factory=lambda: Identity.generate("party", unsafe_simulation=True))

    @property
    def key(self) -> SigningKey:
        return self.identity.signing_key

    @property
    def party(self) -> PartyKey:
        return self.identity.signing_key.party

    @property
    def report_key(self) -> bytes:
        return self.identity.report_key.public


@dataclass(frozen=True)
class SealedData:
    """A data set as its owner made it."""

    owner: Party
    key: SecretKey
    manifest: Signed
    policy: Signed

    @property
    def dataset_id(self) -> DatasetId:
        return DatasetId.of(self.manifest.digest)


@dataclass(frozen=True)
class SealedBundle:
    """A bundle as its provider made it."""

    provider: Party
    key: SecretKey
    publication: Signed
    terms: Signed

    @property
    def bundle_id(self) -> BundleId:
        return BundleId.of(self.publication.digest)

    @property
    def root(self) -> Digest:
        return BundlePublication.decode(self.publication.payload).object.root


class BrokerWorld:
    """Platform, release, broker, parties. `restart` begins a new epoch, from any store.

    `machines` says which roles run on another machine than `platform`; `answers_total` is what owners and providers
    allow in the terms that they state from then on.
    """

    answers_total = 1000

    def __init__(
        self, directory: Path, *, witnesses: int = 0, quorum: int | None = None, release_signers: int = 1
    ) -> None:
        self.platform = SimulatedPlatform.open_or_create(directory / "platform")
        self.machines: dict[str, SimulatedPlatform] = {}
        self.release_keys = [SigningKey.generate() for _ in range(release_signers)]
        self.trust = TrustSettings(
            release_keys=tuple(key.party for key in self.release_keys), release_threshold=release_signers,
            allowed_roots=self.allowed_roots(), production=False,
        )  # fmt: skip
        self.release = self.sign_release(MEASUREMENTS)
        self.witnesses = [SigningKey.generate() for _ in range(witnesses)]
        self.rule = WitnessRule(
            tuple(one.party for one in self.witnesses), (1 if quorum is None else quorum) if witnesses else 0
        )
        self.owner, self.provider, self.user = Party(), Party(), Party()
        self.time = int(self.platform.pki.root.certificate.not_valid_before_utc.timestamp()) + 7200
        self.store = MemoryStore()
        self.confirm_seconds = 0.0
        self.broker_measurement = MEASUREMENTS["broker"]
        self._numbers = itertools.count()
        self.restart()

    def restart(self, store: MemoryStore | None = None) -> None:
        """Kill the broker and start it again, from its own store or from another."""
        self.store = store or self.store
        self.start_on(self.runtime("broker", self.broker_measurement))

    def bare_broker(self) -> None:
        """Start the broker again, on hardware: its quotes carry no collateral."""
        self.start_on(BareRuntime(self.platform, self.broker_measurement, self.trust))

    def start_on(self, runtime: Platform) -> None:
        """Start the broker again, on this platform."""
        self.context = BrokerContext.start(runtime, self.store, self.rule, self.time)
        self.core = KeyBroker(self.context, confirm_seconds=self.confirm_seconds)

    def runtime(self, role: str, measurement: MrEnclave | None = None) -> TestRuntime:
        machine = self.machines.get(role, self.platform)
        return TestRuntime(machine, measurement or MEASUREMENTS[role], self.trust)

    def allowed_roots(self) -> tuple[AllowedRoot, ...]:
        """The roots that everybody is measured with."""
        return (self.platform.allowed_root,)

    def references(self, measurements: dict[str, MrEnclave]) -> dict[str, ReferenceValue]:
        """What a release says of each role."""
        return {role: SgxReferenceValue(mr_enclave=measured) for role, measured in measurements.items()}

    def sign_release(self, measurements: dict[str, MrEnclave], *keys: SigningKey, tag: str = "1") -> Signed:
        references: dict[RoleName, dict[TrustLevel, ReferenceValue]] = {
            RoleName(role): {TrustLevel.SIMULATION: value} for role, value in self.references(measurements).items()
        }
        release = Release(name="test", tag=tag, created=1, measurements=references)
        return sign(release, *(keys or self.release_keys))

    # -- asking ------------------------------------------------------------------------------------------------------

    def handle(self, raw: bytes) -> bytes:
        """What a host does with a request."""
        return self.core.handle(raw, self.time)

    def channel(self, party: Party | None = None) -> BrokerChannel:
        """A checked conversation; every reply's signature, digest, nonce and head are verified."""
        channel = BrokerChannel(self.handle, self.genesis.signing_public)
        if party is not None:
            channel.read_details_as(party.party, party.identity.report_key)
        return channel

    def reply(self, body: RequestBody) -> BrokerReply:
        """One verified reply, refusals included."""
        request = BrokerRequest(nonce=secrets.token_bytes(32), body=body).encode()
        return open_reply(self.handle(request), request, self.genesis.signing_public)

    @property
    def genesis(self) -> Genesis:
        return self.context.genesis

    @property
    def wrapping_public(self) -> bytes:
        """What parties wrap to now."""
        told = self.describe()
        return current_wrapping_key(told.genesis, told.succession)

    @property
    def head(self) -> LogHead:
        return self.reply(DescribeBroker()).head

    def reply_time(self) -> int:
        """The broker's clock."""
        return self.reply(DescribeBroker()).time

    def describe(self) -> BrokerDescription:
        return self.channel().ask(DescribeBroker(), BrokerDescription)

    def confirm(self, witness: SigningKey, head: LogHead | None = None, nonce: bytes | None = None) -> Confirmed:
        """A witness's word about a head is taken, the current one unless another is given."""
        return self.channel().ask(self.word(witness, head, nonce), Confirmed)

    def word(self, witness: SigningKey, head: LogHead | None = None, nonce: bytes | None = None) -> ConfirmHead:
        nonce, head = nonce or self.describe().boot_nonce, head or self.head
        return ConfirmHead(
            witness=witness.party, boot_nonce=nonce, head=head,
            signature=witness.sign(LOG_HEAD_SEEN, *head_seen_parts(self.genesis.digest, nonce, head)),
        )  # fmt: skip

    @contextmanager
    def attended(self, witness: SigningKey) -> Iterator[None]:
        """Inside, this witness confirms whatever is decided, as soon as it is."""
        self.confirm_seconds = self.core._confirm_seconds = 30.0
        left = threading.Event()

        def attend() -> None:
            while not left.wait(0.005):
                self.confirm(witness)

        thread = threading.Thread(target=attend, name="witness")
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()
            self.confirm_seconds = self.core._confirm_seconds = 0.0

    def honest_round(self, witness: SigningKey, seen: LogHead | None) -> LogHead:
        """What an honest witness does when it has seen `seen`; the newest head that it knows afterwards."""
        head = self.head
        require_not_older(head, seen)
        if seen is not None:
            self.confirm(witness, seen)
        self.confirm(witness, head)
        return head

    # -- documents ---------------------------------------------------------------------------------------------------

    def policy_terms(self, owner: Party, /, **changes: Any) -> DataPolicy:
        fields: dict[str, Any] = {
            "owner": owner.party, "report_key": owner.report_key, "unsafe_simulation": True,
            "providers": (self.provider.party,), "releases": (self.release.digest,),
            "minimal_trust_level": "simulation", "sandboxes": ("native",), "not_after": self.time + 86_400,
            "max_jobs": 5, "max_attempts": 3, "answers_total": self.answers_total,
        }  # fmt: skip
        return DataPolicy(**(fields | changes))

    def seal_data(self, owner: Party | None = None, **changes: Any) -> SealedData:
        """A data set whose policy (version 1) is the usual one with `changes`."""
        owner = owner or self.owner
        policy = sign(self.policy_terms(owner, **changes), owner.key)
        root = sha256(b"data %d" % next(self._numbers))
        manifest = DatasetManifest(
            owner=owner.party, parts=(ObjectRef(root=root, chunk_count=3),), policy=policy.digest
        )
        return SealedData(owner, SecretKey.generate(), sign(manifest, owner.key), policy)

    def wrap_policy(self, policy: Signed, party: Party) -> bytes:
        info = policy_info(party.party, policy.digest, self.genesis.digest)
        return wrap(policy.encode(), self.wrapping_public, info)

    def dataset_registration(self, data: SealedData) -> RegisterDataset:
        manifest, own = data.manifest.digest, self.genesis
        info = data_key_info(manifest, data.owner.party, data.policy.digest, own.digest)
        return RegisterDataset(
            manifest=data.manifest, policy=self.wrap_policy(data.policy, data.owner),
            data_key=wrap_ring(KeyRing({"data": data.key}), self.wrapping_public, info),
        )  # fmt: skip

    def register_data(self, owner: Party | None = None, **changes: Any) -> SealedData:
        data = self.seal_data(owner, **changes)
        self.channel(data.owner).ask(self.dataset_registration(data), Registered)
        return data

    def policy_update(self, data: SealedData, policy: Signed) -> UpdatePolicy:
        wrapped = self.wrap_policy(policy, data.owner)
        return UpdatePolicy(dataset_id=data.dataset_id, digest=policy.digest, policy=wrapped)

    def bundle_terms(self, provider: Party, /, **changes: Any) -> BundleTerms:
        fields: dict[str, Any] = {
            "provider": provider.party, "report_key": provider.report_key, "unsafe_simulation": True,
            "releases": (self.release.digest,), "minimal_trust_level": "simulation",
            "not_after": self.time + 86_400, "answers_total": self.answers_total,
        }  # fmt: skip
        return BundleTerms(**(fields | changes))

    def terms_update(self, bundle: SealedBundle, terms: Signed) -> UpdateTerms:
        wrapped = self.wrap_policy(terms, bundle.provider)
        return UpdateTerms(bundle_id=bundle.bundle_id, digest=terms.digest, terms=wrapped)

    def seal_bundle(
        self, provider: Party | None = None, *, sandbox: SandboxName = "native", **changes: Any
    ) -> SealedBundle:
        provider = provider or self.provider
        terms = sign(self.bundle_terms(provider, **changes), provider.key)
        publication = BundlePublication(
            provider=provider.party, terms=terms.digest, state_class=SCHEDULE.state_class, sandbox=sandbox,
            object=ObjectRef(root=sha256(b"bundle %d" % next(self._numbers)), chunk_count=1),
        )  # fmt: skip
        return SealedBundle(provider, SecretKey.generate(), sign(publication, provider.key), terms)

    def bundle_registration(self, bundle: SealedBundle) -> RegisterBundle:
        own = self.genesis
        info = bundle_key_info(bundle.publication.digest, bundle.provider.party, bundle.terms.digest, own.digest)
        return RegisterBundle(
            publication=bundle.publication, terms=self.wrap_policy(bundle.terms, bundle.provider),
            bundle_key=wrap_ring(KeyRing({"bundle": bundle.key}), self.wrapping_public, info),
        )  # fmt: skip

    def register_bundle(self, provider: Party | None = None, **changes: Any) -> SealedBundle:
        bundle = self.seal_bundle(provider, **changes)
        self.channel(bundle.provider).ask(self.bundle_registration(bundle), Registered)
        return bundle

    def order(self, data: SealedData | list[SealedData], bundle: SealedBundle, **changes: Any) -> TrainingOrder:
        datasets = data if isinstance(data, list) else [data]
        owners = tuple(dict.fromkeys(one.owner.party for one in datasets))
        nonce = changes.pop("nonce", secrets.token_bytes(16))
        info = order_secret_info(nonce, owners[0], self.genesis.signing_public)
        secret = OrderSecret(learning_seed=secrets.token_bytes(32))
        fields: dict[str, Any] = {
            "nonce": nonce, "owners": owners, "broker": self.genesis.signing_public, "release": self.release.digest,
            "datasets": tuple(one.dataset_id for one in datasets), "bundle": bundle.bundle_id, "trainers": 2,
            "shards": () if len(owners) == 1 else tuple(
                tuple(place for place, one in enumerate(datasets) if one.owner.party == owner) for owner in owners
            ),
            "schedule": SCHEDULE, "not_after": self.time + 3600,
            "secret": wrap(secret.encode(), self.wrapping_public, info),
        }  # fmt: skip
        return TrainingOrder(**(fields | changes))

    def accept(self, order: Signed, party: Party | None = None, release: Signed | None = None) -> OrderAccepted:
        body = AcceptOrder(order=order, release=release or self.release)
        return self.channel(party or self.owner).ask(body, OrderAccepted)

    def start_job(self, data: SealedData | None = None, bundle: SealedBundle | None = None) -> JobId:
        """An accepted order of the usual owner."""
        order = self.order(data or self.register_data(), bundle or self.register_bundle())
        return self.accept(sign(order, self.owner.key)).job_id

    # -- launches ----------------------------------------------------------------------------------------------------

    def launch(self, role: RoleName, job_id: JobId, slot: int = 0, *, ask: Callable[[bytes], bytes] | None = None,
               measurement: MrEnclave | None = None) -> Launch:  # fmt: skip
        channel = BrokerChannel(ask or self.handle)
        return attest_and_fetch(self.runtime(role, measurement), channel, role, job_id, slot)

    def manifest(self, server: Launch, **changes: Any) -> ModelManifest:
        terms = server.terms
        fields: dict[str, Any] = {
            "model_id": "model_" + terms.order.digest[:32], "job_id": terms.job_id, "order": terms.order.digest,
            "datasets": server.order.datasets, "bundle": terms.bundle_id, "bundle_root": terms.bundle.object.root,
            "data_roots": tuple(part.root for data in terms.datasets for part in data.manifest.parts),
            "object": ObjectRef(root=sha256(b"sealed model"), chunk_count=1), "weights": sha256(b"weights"),
            "schedule": server.order.schedule, "trust_level": terms.trust_level, "members": (), "created": self.time,
        }  # fmt: skip
        return ModelManifest.model_validate_json(ModelManifest.model_construct(**(fields | changes)).model_dump_json())

    def completion(self, server: Launch, outcome: str = "finished", **changes: Any) -> CompleteJob:
        signed = None if outcome == "failed" else sign(
            self.manifest(server, **changes), server.signing_key
        )  # fmt: skip
        digest = None if signed is None else signed.digest
        return CompleteJob.model_validate(
            {
                "job_id": server.terms.job_id,
                "outcome": outcome,
                "manifest": signed,
                "statement": server.state_completion(outcome, digest),
            }
        )

    def finish(self, job_id: JobId) -> Signed:
        """Run a job to its end; the model's manifest."""
        server = self.launch(PARAMSERVER, job_id)
        body = self.completion(server)
        assert body.manifest is not None
        self.channel().ask(body, Completed)
        return body.manifest

    # -- grants ------------------------------------------------------------------------------------------------------

    def grant(self, model: Signed, *signers: Party, **changes: Any) -> Signed:
        fields: dict[str, Any] = {
            "nonce": secrets.token_bytes(16), "user": self.user.party,
            "model_id": ModelManifest.decode(model.payload).model_id, "manifest": model.digest,
            "broker": self.genesis.signing_public, "release": self.release.digest, "answers": 100,
            "not_after": self.time + 3600,
        }  # fmt: skip
        return sign(QueryGrant(**(fields | changes)), *(one.key for one in signers or (self.owner,)))

    def serving(self, number: int, *models: Signed | None, **changes: Any) -> ServingRecord:
        """A record of the owner's: current, previous and canary model, by their manifests."""
        named = [
            None
            if one is None
            else ServedModel(model_id=ModelManifest.decode(one.payload).model_id, manifest=one.digest)
            for one in (*models, None, None)
        ]
        fields: dict[str, Any] = {
            "served": ServedName(owner=self.owner.party, name="digits"), "number": number,
            "broker": self.genesis.signing_public, "current": named[0], "previous": named[1], "canary": named[2],
            "canary_permille": 0 if named[2] is None else 100, "created": self.time,
        }  # fmt: skip
        return ServingRecord(**(fields | changes))

    def serve(self, record: ServingRecord, *signers: Party) -> ServingShown:
        """Bring a record to the broker."""
        signed = sign(record, *(one.key for one in signers or (self.owner,)))
        return self.channel().ask(SetServing(record=signed), ServingShown)

    def draw(
        self, enclave: Launch, grant: Signed, answers: int = 64, *, signer: SigningKey | None = None,
        size: AnswerSize = ANSWER, channel: BrokerChannel | None = None,
    ) -> BudgetBlock:  # fmt: skip
        """A query enclave's draw, as services/query_enclave makes it."""
        assert enclave.terms.model_manifest is not None
        model_id, nonce = ModelManifest.decode(enclave.terms.model_manifest.payload).model_id, secrets.token_bytes(32)
        key = signer or enclave.signing_key
        parts = draw_budget_parts(model_id, grant.digest, answers, size, nonce)
        body = DrawBudget(
            model_id=model_id, grant=grant, answers=answers, launch=key.party,
            classes=size.classes, row_bytes=size.row_bytes, statement=key.sign(LAUNCH_STATEMENT, *parts),
        )  # fmt: skip
        return (channel or self.channel()).ask_with_nonce(nonce, body, BudgetBlock)

    def revoke(self, party: Party, target: Any, identifier: str, **changes: Any) -> Revoked:
        fields: dict[str, Any] = {
            "nonce": secrets.token_bytes(16), "party": party.party, "target": target, "identifier": identifier,
            "broker": self.genesis.signing_public, "created": self.time,
        }  # fmt: skip
        body = Revoke(revocation=sign(Revocation(**(fields | changes)), party.key))
        return self.channel().ask(body, Revoked)

    def retire(self, party: Party, bundle_id: BundleId, **changes: Any) -> BundleRetired:
        fields: dict[str, Any] = {
            "nonce": secrets.token_bytes(16), "party": party.party, "bundle": bundle_id,
            "broker": self.genesis.signing_public, "created": self.time,
        }  # fmt: skip
        body = RetireBundle(retirement=sign(BundleRetirement(**(fields | changes)), party.key))
        return self.channel().ask(body, BundleRetired)
