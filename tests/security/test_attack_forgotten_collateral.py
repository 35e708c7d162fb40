"""Attacks on the memory of collateral: the operator has the broker forget what it saw, and shows older documents.

A broker's state was stored before the newest marks were, or is gone altogether. Its witnesses have been told of them.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from client.witness_memory import WitnessMemory
from client.witnessing import Witness
from common.broker_channel import BrokerChannel
from common.broker_statements import head_seen_parts
from common.crypto.key_file import Identity
from common.crypto.labels import LOG_HEAD_SEEN
from common.dcap.collateral_memory import marks_of
from common.enclave.simulated_pki import CLOCK_MARGIN, issue_crl
from common.enclave.simulated_platform import SimulatedPlatform
from common.errors import AppraisalError, AuthenticityError, FreshnessError, Refusal
from common.identifiers import JobId, MrEnclave
from common.key_retrieval import attest_and_fetch
from common.messages.collateral import CollateralMark
from common.messages.evidence import AllowedRoot, Collateral, SgxDcapEvidence
from common.messages.log_heads import Confirmed, ConfirmHead
from services.attestation import state_anchor
from services.attestation.context import WitnessRule
from tests.fakes.broker_world import TRAINER, BrokerWorld, MemoryStore, TestRuntime
from tests.fakes.peer_brokers import PeerPair
from tests.fakes.recovery_world import RecoveryWorld
from tests.fakes.watched_broker import Served

STRANGE = MrEnclave("f" * 64)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker whose log does not grow answers soon."""
    monkeypatch.setattr("services.attestation.key_broker.AWAIT_SECONDS", 0.01)


class Showing:
    """An enclave on this platform whose evidence carries the documents of so many days ago."""

    def __init__(self, runtime: TestRuntime, platform: SimulatedPlatform, collateral: Collateral) -> None:
        self._runtime, self._platform, self._collateral = runtime, platform, collateral

    def evidence(self, report_data: bytes) -> SgxDcapEvidence:
        shown = self._platform.evidence(self._runtime.measurement, report_data)
        return SgxDcapEvidence(quote=shown.quote, collateral=self._collateral)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)


class TwoPlatforms(BrokerWorld):
    """A broker on one platform; trainers also on another, of another maker, with documents of its own."""

    def __init__(self, directory: Path, **rule: Any) -> None:
        self.second = SimulatedPlatform.open_or_create(directory / "second")
        super().__init__(directory, **rule)

    def allowed_roots(self) -> tuple[AllowedRoot, ...]:
        return (self.platform.allowed_root, self.second.allowed_root)

    @property
    def platforms(self) -> tuple[SimulatedPlatform, SimulatedPlatform]:
        return self.platform, self.second


def older(platform: SimulatedPlatform, days: int = 3) -> Collateral:
    """What was current on that day, and still is."""
    return platform.pki.collateral(datetime.now(UTC) - timedelta(days=days))


def show(
    world: BrokerWorld, job_id: JobId, platform: SimulatedPlatform, collateral: Collateral,
    measurement: MrEnclave | None = None,
) -> Any:  # fmt: skip
    runtime = Showing(world.runtime(TRAINER, measurement), platform, collateral)
    return attest_and_fetch(runtime, BrokerChannel(world.handle), TRAINER, job_id, 0)


def newest_marks(world: TwoPlatforms) -> set[CollateralMark]:
    return {mark for platform in world.platforms for mark in marks_of(platform.collateral())}


def teach_unwritten(world: TwoPlatforms, job_id: JobId, monkeypatch: pytest.MonkeyPatch) -> None:
    """Today's documents of both platforms, where the log has no room for a refusal: nothing of them is stored."""
    blobs = len(world.store.blobs)
    with monkeypatch.context() as patch:
        patch.setattr(state_anchor, "ROOM", 0)
        for platform in world.platforms:
            with pytest.raises(AppraisalError):
                show(world, job_id, platform, platform.collateral(), STRANGE)
    assert len(world.store.blobs) == blobs
    assert set(world.describe().collateral) == newest_marks(world)


def witness_of(world: BrokerWorld, identity: Identity, file: Path) -> Witness:
    return Witness(identity, world.trust, Served(world, identity.signing_key), file, lambda: world.time, lambda _: None)


@pytest.fixture
def identity() -> Identity:
    return Identity.generate("witness", unsafe_simulation=True)


@pytest.fixture
def world(tmp_path: Path, identity: Identity) -> TwoPlatforms:
    world = TwoPlatforms(tmp_path)
    world.rule = WitnessRule((identity.signing_key.party,), 1)
    world.restart(MemoryStore())
    return world


@pytest.fixture
def witness(world: TwoPlatforms, identity: Identity, tmp_path: Path) -> Witness:
    return witness_of(world, identity, tmp_path / "witness.json")


@contextlib.contextmanager
def attended(world: BrokerWorld, identity: Identity) -> Iterator[None]:
    with world.attended(identity.signing_key):
        yield


def test_a_state_from_before_newer_documents_does_not_bring_the_older_back(
    world: TwoPlatforms, witness: Witness, identity: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    witness.round()
    job_id = world.start_job()
    witness.round()
    stored = world.store.copy()
    teach_unwritten(world, job_id, monkeypatch)
    assert not witness.follow(), "newer documents: a whole round"
    witness.round()
    world.restart(stored)
    assert not set(world.describe().collateral) & set(marks_of(world.second.collateral())), "it has forgotten"
    with pytest.raises(Refusal, match=r"unavailable\.frozen"):
        show(world, job_id, world.second, older(world.second))
    witness_of(world, identity, tmp_path / "witness.json").round()  # another process of the same witness
    assert set(world.describe().collateral) == newest_marks(world)
    for platform in world.platforms:
        for days in (1, 3, 29):
            with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
                show(world, job_id, platform, older(platform, days))
    with attended(world, identity):
        assert show(world, job_id, world.second, world.second.collateral()).attempt >= 1


def test_it_is_the_witness_that_remembers(
    world: TwoPlatforms, witness: Witness, identity: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same with a witness that was not there between: what the attack is, and that the test would see it."""
    witness.round()
    job_id = world.start_job()
    witness.round()
    stored = world.store.copy()
    teach_unwritten(world, job_id, monkeypatch)
    world.restart(stored)
    witness.round()
    with attended(world, identity):
        assert show(world, job_id, world.second, older(world.second)).attempt == 1


def test_what_it_was_told_is_written_with_the_next_decision(
    world: TwoPlatforms, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness.round()
    job_id = world.start_job()
    witness.round()
    stored = world.store.copy()
    teach_unwritten(world, job_id, monkeypatch)
    witness.round()
    world.restart(stored)
    witness.round()
    world.register_data()
    world.restart()
    assert set(world.describe().collateral) == newest_marks(world), "before any witness has spoken"


def test_a_host_cannot_take_it_out_of_a_witnesss_word(
    world: TwoPlatforms, witness: Witness, identity: Identity, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    witness.round()
    job_id = world.start_job()
    witness.round()
    stored = world.store.copy()
    teach_unwritten(world, job_id, monkeypatch)
    witness.round()
    world.restart(stored)
    again = witness_of(world, identity, tmp_path / "witness.json")
    honest = world.handle

    def without(raw: bytes) -> bytes:
        start, mark, rest = raw.partition(b'"collateral":[{"subject"')
        return honest(raw if not mark else start + b'"collateral":[]' + rest[rest.index(b"]") + 1 :])

    world.handle = without  # type: ignore[method-assign]
    with pytest.raises(AuthenticityError):
        again.round()
    assert world.describe().frozen
    world.handle = honest  # type: ignore[method-assign]
    again.round()
    assert set(world.describe().collateral) == newest_marks(world)


def test_a_witness_takes_no_older_documents_for_its_brokers_own_quote(
    world: TwoPlatforms, witness: Witness, identity: Identity, tmp_path: Path
) -> None:
    witness.round()
    assert world.platform.collateral() is not None
    runtime = world.runtime("broker", world.broker_measurement)
    world.start_on(Showing(runtime, world.platform, older(world.platform)))
    for one in (witness, witness_of(world, identity, tmp_path / "witness.json")):
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            one.round()
    assert world.describe().frozen
    world.restart()
    witness.round()
    assert not world.describe().frozen


def test_a_witness_remembers_what_revoked_its_broker(world: TwoPlatforms, witness: Witness) -> None:
    """Else the CRL before that one would be shown next."""
    witness.round()
    pki, at = world.platform.pki, datetime.now(UTC) + timedelta(minutes=30)
    crl = issue_crl(pki.pck_ca, at - CLOCK_MARGIN, (pki.pck.certificate.serial_number,))
    newest = world.platform.collateral().model_copy(update={"pck_crl": crl})
    runtime = world.runtime("broker", world.broker_measurement)
    world.start_on(Showing(runtime, world.platform, newest))
    with pytest.raises(AuthenticityError, match=r"authenticity\.quote"):
        witness.round()
    world.restart()
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        witness.round()
    assert world.describe().frozen


def test_one_witness_alone_shuts_out_nobody(tmp_path: Path) -> None:
    """It may lie about Intel's documents; a quorum is believed, as it is about the log."""
    world = TwoPlatforms(tmp_path, witnesses=3, quorum=2)
    [mark, *_] = marks_of(world.platform.collateral())
    far = mark.model_copy(update={"evaluation": 1 << 40, "issued": mark.issued + 86_400})
    known = set(world.describe().collateral)
    for number, witness in enumerate(world.witnesses[:2], 1):
        nonce, head = world.describe().boot_nonce, world.head
        parts = head_seen_parts(world.genesis.digest, nonce, head, (far,))
        said = ConfirmHead(
            witness=witness.party, boot_nonce=nonce, head=head, signature=witness.sign(LOG_HEAD_SEEN, *parts),
            collateral=(far,),
        )  # fmt: skip
        for _ in range(3):
            world.channel().ask(said, Confirmed)
        assert (far in world.describe().collateral) is (number == 2)
        assert number == 2 or set(world.describe().collateral) == known


def test_a_peer_that_witnesses_remembers_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = PeerPair(tmp_path)
    world, platform = pair.world, pair.world.platform
    with pair.attended():
        pair.carrier.round()
        job_id = world.start_job()
        pair.carrier.round()
        stored = world.store.copy()
        with monkeypatch.context() as patch:
            patch.setattr(state_anchor, "ROOM", 0)
            with pytest.raises(AppraisalError):
                show(world, job_id, platform, platform.collateral(), STRANGE)
        pair.carrier.follow()
        pair.peer.restart()
        pair.peer.confirm(pair.peer.witnesses[0])
        world.restart(stored)
        assert world.describe().collateral == ()
        pair.again().round()
        with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
            show(world, job_id, platform, older(platform))


def test_a_broker_that_takes_over_knows_what_the_one_that_is_gone_knew(tmp_path: Path) -> None:
    """The new one has never seen a quote of that platform; the witness of both has been told of its documents."""
    recovery = RecoveryWorld(tmp_path)
    old, second = recovery.old, SimulatedPlatform.open_or_create(tmp_path / "second")
    old.trust = old.trust.model_copy(update={"allowed_roots": (old.platform.allowed_root, second.allowed_root)})
    old.restart()
    recovery.witness = recovery.witness_of(old, "witness.json")
    recovery.witness.round()
    job_id = old.start_job(recovery.data)
    with attended(old, recovery.witness_identity):
        show(old, job_id, second, second.collateral())
    recovery.witness.round()
    new = recovery.new_machine()
    assert not set(marks_of(second.collateral())) & set(new.describe().collateral)
    recovery.recover(new)
    assert set(marks_of(second.collateral())) <= set(new.describe().collateral)
    with attended(new, recovery.witness_identity):
        again = new.start_job(recovery.data)
    with pytest.raises(FreshnessError, match=r"freshness\.collateral"):
        show(new, again, second, older(second))


def test_memories_of_before_are_read(world: TwoPlatforms, witness: Witness, tmp_path: Path) -> None:
    witness.round()
    file = tmp_path / "witness.json"
    memory = WitnessMemory.decode(file.read_bytes())
    assert set(memory.collateral) == set(marks_of(world.platform.collateral()))
    raw = memory.model_dump_json(exclude={"collateral"}).encode()
    assert WitnessMemory.decode(raw).collateral == ()
