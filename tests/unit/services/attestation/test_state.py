from pathlib import Path

import pytest

from common.crypto.keys import SecretKey
from common.errors import AuthenticityError
from common.messages.decision_log import LogSubjects
from services.attestation import state as state_module
from services.attestation.context import BrokerContext
from services.attestation.decision_log import Decision
from services.attestation.records import DatasetRecord, JobRecord, TallyRecord
from services.attestation.state import StateKeys, restore
from tests.fakes.broker_world import MEASUREMENTS, TRAINER, BrokerWorld, MemoryStore


def restarts(world: BrokerWorld, store: MemoryStore) -> BrokerContext:
    return BrokerContext.start(world.runtime("broker"), store, world.rule, world.time)


def test_everything_survives_a_kill(world: BrokerWorld) -> None:
    job_id = world.start_job()
    trainer = world.launch(TRAINER, job_id)
    before, genesis = world.context, world.genesis
    world.restart()
    after = world.context
    assert world.genesis == genesis
    assert after.job(job_id) == before.job(job_id)
    assert after.keys_of(after.job(job_id))["job"] == trainer.keys["job"]
    assert after.state.log.epoch == before.state.log.epoch + 1
    assert after.state.log.size == before.state.log.size + 1


def test_the_host_sees_no_key_and_no_term(world: BrokerWorld) -> None:
    data = world.register_data()
    stored = b"".join(world.store.blobs)
    key = world.context.keys_of(world.context.dataset(data.dataset_id))["data"]
    for secret in (key._raw, data.key._raw, data.policy.payload[:64], data.dataset_id.encode()):
        assert secret not in stored


def test_a_chain_that_was_changed_mixed_or_cut_inside_is_refused(world: BrokerWorld) -> None:
    world.start_job()
    blobs = world.store.blobs
    assert len(blobs) > 3
    flipped = [bytes([blobs[1][0]]) + blobs[1][1:-1] + bytes([blobs[1][-1] ^ 1])]
    fork = BrokerWorld.__new__(BrokerWorld)
    fork.__dict__ |= world.__dict__
    fork.restart(MemoryStore(blobs[:2]))
    fork.register_data()
    broken = {
        "changed": [blobs[0], *flipped, *blobs[2:]],
        "swapped": [blobs[0], blobs[2], blobs[1], *blobs[3:]],
        "gap": [blobs[0], *blobs[2:]],
        "beginning missing": blobs[1:],
        "from another chain": [blobs[0], fork.store.blobs[1], *blobs[2:]],
        "noise": [b"noise"],
    }
    for chain in broken.values():
        with pytest.raises(AuthenticityError, match="authenticity.sealed_state"):
            restarts(world, MemoryStore(chain))


def test_a_shorter_chain_is_authentic_which_is_why_there_are_witnesses(world: BrokerWorld) -> None:
    job_id = world.start_job()
    context = restarts(world, MemoryStore(world.store.blobs[:-1]))
    assert context.state.find(JobRecord, job_id) is None


def test_another_build_or_platform_opens_nothing(world: BrokerWorld, tmp_path: Path) -> None:
    other = world.runtime("broker", MEASUREMENTS["query"])
    with pytest.raises(AuthenticityError, match="authenticity.sealed_state"):
        BrokerContext.start(other, world.store.copy(), world.rule, world.time)
    stranger = BrokerWorld(tmp_path / "elsewhere")
    with pytest.raises(AuthenticityError, match="authenticity.sealed_state"):
        restarts(stranger, world.store.copy())


def test_a_snapshot_of_many_entries_is_whole_or_refused(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.start_job()
    monkeypatch.setattr(state_module, "_SNAPSHOT_ENTRY_BYTES", 1)
    world.restart()
    count = len(world.store.blobs)
    assert count > 4
    restored = restore(world.store, StateKeys(world.runtime("broker").sealing_key(b"broker-state")))
    assert restored is not None
    assert restored.records.keys() == world.context.state._records.keys()
    for cut in range(1, count):
        with pytest.raises(AuthenticityError, match="authenticity.sealed_state"):
            restarts(world, MemoryStore(world.store.blobs[:cut]))


def test_a_long_chain_is_written_anew(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_module, "COMPACT_AFTER", 5)
    for count in range(12):
        decision = Decision("draw-budget", LogSubjects(answers=count))
        world.context.state.commit(decision, world.time, world.context.state.tally_after("answers", 1))
    world.context.state.settle()
    assert len(world.store.blobs) <= 6
    assert restarts(world, world.store).state.tally("answers") == 12


def test_nobody_hears_of_a_decision_that_was_not_stored(world: BrokerWorld) -> None:
    class Full(MemoryStore):
        def settle(self) -> None:
            if self._queue:
                raise OSError("no space left on device")

    data = world.seal_data()
    world.restart(Full(world.store.blobs, world.store.entries))
    with pytest.raises(OSError, match="no space"):  # the enclave's own store ends the process (door_stores)
        world.reply(world.dataset_registration(data))
    assert world.context.state.find(DatasetRecord, data.dataset_id) is not None
    again = restarts(world, world.store.copy())
    assert again.state.find(DatasetRecord, data.dataset_id) is None


def test_what_is_enclosed_comes_with_the_next_decision_and_not_before(world: BrokerWorld) -> None:
    world.context.state.enclose(TallyRecord(name="counter", count=7))
    assert restarts(world, world.store.copy()).state.tally("counter") == 0
    size = world.head.size
    world.register_data()
    assert world.head.size == size + 1
    assert restarts(world, world.store.copy()).state.tally("counter") == 7


def test_time_never_goes_back(world: BrokerWorld) -> None:
    world.time += 500
    world.register_data()
    newest = world.time
    world.time -= 1000
    assert world.reply_time() == newest
    world.restart()
    assert world.reply_time() == newest


def test_keys_of_one_record_are_not_anothers() -> None:
    keys = StateKeys(SecretKey.generate())
    sealed = keys.seal_ring("data_1", data=SecretKey.generate())
    with pytest.raises(AuthenticityError):
        keys.open_ring("data_2", sealed)
