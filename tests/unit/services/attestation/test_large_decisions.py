"""Whatever the broker stores, its next start reads: no party's large documents end it for all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.crypto.digests import sha256
from common.errors import FormatError
from common.identifiers import DatasetId, JobId, PartyKey
from common.messages.decision_log import LogEntry
from common.messages.objects import DatasetManifest, ObjectRef
from common.messages.registration import Registered
from common.messages.signed import Signed, sign, signature_by
from services.attestation import state
from services.attestation.decision_log import Decision
from services.attestation.ledger import ATTEMPT_BITS, tally_of
from services.attestation.orders import MAX_ORDER_BYTES
from services.attestation.records import JobRecord, TallyRecord
from services.attestation.revocation import RECORDS_AT_ONCE
from tests.fakes.broker_world import TRAINER, BrokerWorld, SealedBundle, SealedData


def padded(world: BrokerWorld, order: Any, length: int) -> Signed:
    """The order in so many bytes, which JSON allows."""
    payload = order.encode().ljust(length)
    return Signed(payload_type="training-order", payload=payload,
                  signatures=(signature_by(world.owner.key, "training-order", payload),))  # fmt: skip


def register_wide(world: BrokerWorld, bundle: SealedBundle) -> SealedData:
    """A data set whose policy is about as long as one can be."""
    digests = [sha256(b"%d" % number) for number in range(1020)]
    parties = tuple(PartyKey(one) for one in digests)
    return world.register_data(
        bundles=(bundle.root, *digests), users=parties, providers=(world.provider.party, *parties[:255]),
        releases=(world.release.digest, *digests[:255]), revoked_releases=tuple(digests[256:512]),
        measurements=(world.runtime("trainer").measurement, *map(str, digests[:60])), max_jobs=1 << 20,
    )  # fmt: skip


def test_an_order_is_no_larger_than_it_needs_to_be(world: BrokerWorld) -> None:
    order = world.order(world.register_data(), world.register_bundle())
    with pytest.raises(FormatError, match=r"format\.too_large"):
        world.accept(padded(world, order, MAX_ORDER_BYTES + 1))
    world.accept(padded(world, order, MAX_ORDER_BYTES))


def test_the_largest_job_survives_starts(world: BrokerWorld) -> None:
    """64 data sets under the longest policies, in the largest order, launched, and beside it another of its kind."""
    bundle = world.register_bundle()
    data = [register_wide(world, bundle) for _ in range(64)]
    job_ids = [world.accept(padded(world, world.order(data, bundle), MAX_ORDER_BYTES)).job_id for _ in range(2)]
    world.launch(TRAINER, job_ids[0])
    for _ in range(3):
        world.restart()
    assert world.launch(TRAINER, job_ids[0]).attempt == 2
    world.revoke(world.owner, "dataset", data[0].dataset_id)
    world.restart()
    assert {world.context.job(job_id).state for job_id in job_ids} == {"cancelled"}


def test_what_could_not_be_read_back_is_not_decided(world: BrokerWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    data, bundle = world.register_data(), world.register_bundle()
    head = world.head
    with monkeypatch.context() as small:
        small.setattr(state, "MAX_ENTRY_BYTES", 2000)
        with pytest.raises(FormatError, match=r"format\.too_large"):
            world.accept(sign(world.order(data, bundle), world.owner.key))
    assert world.head == head
    world.start_job(data, bundle)


def test_terms_that_no_answer_can_hold_are_refused(world: BrokerWorld) -> None:
    data = []
    for which in range(2):
        parts = tuple(ObjectRef(root=sha256(b"%d %d" % (which, number)), chunk_count=1) for number in range(4096))
        small = world.seal_data()
        manifest = DatasetManifest.decode(small.manifest.payload).model_copy(update={"parts": parts})
        data.append(replace(small, manifest=sign(manifest, small.owner.key)))
        world.channel().ask(world.dataset_registration(data[-1]), Registered)
    job_id = world.accept(sign(world.order(data, world.register_bundle()), world.owner.key)).job_id
    with pytest.raises(FormatError, match=r"format\.too_large"):
        world.launch(TRAINER, job_id)


def test_a_counter_at_its_end_refuses(world: BrokerWorld) -> None:
    """2^48: no policy allows more."""
    data = world.register_data()
    job_id = world.start_job(data)
    full = TallyRecord(name=tally_of(ATTEMPT_BITS, data.dataset_id), count=1 << 48)
    world.context.state.commit(Decision("accept-order"), world.time, full)
    with pytest.raises(FormatError, match=r"format\.too_large"):
        world.launch(TRAINER, job_id)
    assert world.context.job(job_id).launches == ()


def test_a_revocation_ends_any_number_of_jobs(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    data, bundle = world.register_data(max_jobs=100), world.register_bundle()
    jobs = [world.start_job(data, bundle) for _ in range(2 * RECORDS_AT_ONCE + 1)]
    store, blobs = world.store.copy(), len(world.store.blobs)
    world.revoke(data.owner, "dataset", data.dataset_id)
    assert [LogEntry.decode(one).decision for one in world.store.entries[-3:]] == ["revoke"] * 3
    assert states(world, jobs) == {"cancelled"}

    store.blobs, store.entries = world.store.blobs[: blobs + 1], world.store.entries[:-2]
    world.restart(store)
    assert world.context.dataset(DatasetId(data.dataset_id)).keys is None, "first of all"
    assert states(world, jobs) == {"cancelled", "running"}
    world.revoke(data.owner, "dataset", data.dataset_id)
    assert states(world, jobs) == {"cancelled"}


def states(world: BrokerWorld, jobs: list[JobId]) -> set[str]:
    return {job.state for job in world.context.state.all(JobRecord) if job.job_id in jobs}
