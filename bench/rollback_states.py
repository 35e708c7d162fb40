"""Older states of the key broker, and older logs, put back by its host (side: owner).

The host keeps one state after every decision of a busy life, restores each of them in turn, as often as it likes, and
asks for everything that a broker can release.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.rollback_tally import Tally
from client import audit
from client.events import LogVerified, outcome
from common.identifiers import JobId
from common.key_retrieval import Launch, renew_lease
from common.messages.decision_log import AuditBundle
from common.messages.registration import Registered
from common.messages.signed import Signed, sign
from services.attestation.state_files import StateFiles
from tests.fakes.broker_world import PARAMSERVER, QUERY, TRAINER, MemoryStore, SealedBundle, SealedData
from tests.fakes.log_keeping import Keeper, bundle_for, identity_directory
from tests.fakes.watched_broker import Watched


class Life:
    """A broker with a model, an enclave that serves it, a running job; then `length` data sets that come and go."""

    def __init__(self, watched: Watched, length: int) -> None:
        self.watched, self.world, self._length = watched, watched.world, length
        self.stores: list[MemoryStore] = []
        watched.witness.round()
        with self.world.attended(watched.identity.signing_key):
            self._live()
        watched.witness.round()

    def _live(self) -> None:
        world = self.world
        self.data: SealedData = world.register_data(max_jobs=9, answers_total=10_000)
        self.bundle: SealedBundle = world.register_bundle()
        done: JobId = world.start_job(self.data, self.bundle)
        model: Signed = world.finish(done)
        self.done, self.serving = done, world.launch(QUERY, done)
        self.grant = world.grant(model, answers=100)
        world.draw(self.serving, self.grant, 64)
        self.job_id: JobId = world.start_job(self.data, self.bundle)
        self.trainer: Launch = world.launch(TRAINER, self.job_id)
        for _ in range(self._length):
            self.stores.append(world.store.copy())
            other = world.register_data()
            self.stores.append(world.store.copy())
            world.revoke(other.owner, "dataset", other.dataset_id)
        self.stores.append(world.store.copy())
        world.revoke(self.data.owner, "dataset", self.data.dataset_id)

    def wishes(self) -> dict[str, Callable[[], Any]]:
        """All that a broker releases, or promises."""
        world, data = self.world, self.data
        policy = world.policy_terms(data.owner, policy_version=2, previous=data.policy.digest)
        update = world.policy_update(data, sign(policy, data.owner.key))
        return {
            "a trainer's keys": lambda: world.launch(TRAINER, self.job_id, 1),
            "another attempt": lambda: world.launch(TRAINER, self.job_id),
            "the parameter server's keys": lambda: world.launch(PARAMSERVER, self.job_id),
            "a model's key": lambda: world.launch(QUERY, self.done),
            "answers": lambda: world.draw(self.serving, self.grant, 64),
            "a lease": lambda: renew_lease(world.runtime("trainer"), world.channel(), self.trainer),
            "a job": lambda: world.accept(sign(world.order(data, self.bundle), data.owner.key)),
            "a policy": lambda: world.channel().ask(update, Registered),
            "a data set": world.register_data,
        }


def broker_states(directory: Path, length: int) -> Tally:
    """Each older state: nine wishes, none granted; the witness objects, and forgets nothing."""
    life, tally = Life(Watched(directory), length), Tally()
    world, witness, newest = life.world, life.watched.witness, life.watched.remembered
    kept = world.store
    for number, store in enumerate(life.stores):
        world.restart(store.copy())
        tally.refuses(f"state {number}, by the witness", "freshness.state", witness.round)
        for name, wish in life.wishes().items():
            tally.refuses(f"{name}, of state {number}", "freshness.state", wish)
        if life.watched.remembered != newest:
            raise RuntimeError("the witness has forgotten what it saw")
    world.restart(kept)
    witness.round()
    with world.attended(life.watched.identity.signing_key):
        if world.draw(life.serving, life.grant, 64).answers != 36:
            raise RuntimeError("the newest state has regained or lost answers")
        life.wishes()["a model's key"]()
        life.wishes()["a data set"]()
    return tally


def broker_logs(directory: Path, length: int) -> Tally:
    """Each older log: under the newest head and under its own, to an auditor; behind the newest head, to a witness;
    beside the newest chain, on the disk.
    """
    watched, tally = Watched(directory / "watched"), Tally()
    world, owner = watched.world, watched.world.owner
    keeper = Keeper(world, identity_directory(world, owner, directory / "owner"))
    older: list[tuple[AuditBundle, int]] = []
    for _ in range(length):
        watched.witness.round()
        older.append((bundle_for(world, owner.party), world.store.entry_count))
        world.register_data()
    _audited(keeper, newest := bundle_for(world, owner.party))
    for bundle, count in older:
        shorter = newest.model_copy(update={"items": bundle.items})
        tally.refuses(f"the log of {count} entries", "freshness.state", _audited, keeper, bundle)
        tally.refuses(f"{count} entries for all", "authenticity.log", _audited, keeper, shorter)
        _to_the_witness(watched, count, tally)
    watched.witness.round()
    _beside_the_chain(directory / "disk", length, tally)
    return tally


def _audited(keeper: Keeper, bundle: AuditBundle) -> LogVerified:
    return outcome(audit.verify(keeper.party, keeper.keep("log", bundle), ()), LogVerified)


def _to_the_witness(watched: Watched, count: int, tally: Tally) -> None:
    """The host has lost what came later, and proves consistency from what is left."""
    store = watched.world.store
    whole, store.entries = store.entries, store.entries[:count]
    tally.refuses(f"proofs from {count} entries", "format.message", watched.witness.round)
    store.entries = whole


def _beside_the_chain(directory: Path, length: int, tally: Tally) -> None:
    files, kept = StateFiles(directory), list[bytes]()
    for number in range(length + 1):
        kept.append((directory / "log.records").read_bytes())
        files.begin(files.entry_count, [b"entry %d" % number])
        files.add(b"blob")
        files.commit()
    newest = (directory / "log.records").read_bytes()
    for number, log in enumerate(kept):
        if log != newest:
            (directory / "log.records").write_bytes(log)
            tally.refuses(f"log file {number}", "unavailable.store", StateFiles, directory)
    (directory / "log.records").write_bytes(newest)
    if StateFiles(directory).entry_count != length + 1:
        raise RuntimeError("the newest log file was not read")
