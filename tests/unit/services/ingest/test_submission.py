"""Orders over HTTP: judged, used up once, on the board durably, and visible to their owners only."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from common.crypto.digests import sha256
from common.errors import UnavailableError
from common.identifiers import BundleId, Digest, JobId, ModelId
from common.messages.order import TrainingOrder
from common.messages.service import (
    JobEvents,
    JobList,
    JobProgress,
    JobReports,
    JobView,
    OrderReceipt,
    ProviderReportView,
    RefusalBody,
)
from common.messages.signed import Signed, sign
from common.untrusted.slot_board import TRAINER, Lease, Slot
from tests.fakes.broker_world import Party, SealedBundle, SealedData
from tests.fakes.ingest_world import IngestWorld, PartyClient, register_bundle, register_dataset, signed_order
from tests.unit.services.ingest.test_publishing import revoke_request


def code(answer: object) -> str:
    return RefusalBody.decode(answer.content).code  # type: ignore[attr-defined]


class Case:
    """An owner and a provider with everything that an order needs."""

    def __init__(self, world: IngestWorld) -> None:
        self.world, self.owner = world, Party()
        self.client = world.client(self.owner)
        self.bundle: SealedBundle = register_bundle(
            world.broker, world.client(world.broker.provider), world.broker.provider
        )
        self.data: SealedData = register_dataset(world.broker, self.client, self.owner)

    def order(self, **changes: Any) -> Signed:
        return signed_order(self.world.broker, self.data, self.bundle, **changes)

    def submitted(self) -> JobId:
        return OrderReceipt.decode(self.client.submit(self.order()).content).job_id


@pytest.fixture
def case(world: IngestWorld) -> Case:
    return Case(world)


def test_an_order_gets_a_job_and_again_the_same_one(case: Case) -> None:
    order = case.order()
    first = OrderReceipt.decode(case.client.submit(order).content)
    assert first.job_id == JobId.of(order.digest)
    asked = case.world.route.asked
    assert OrderReceipt.decode(case.client.submit(order).content) == first
    assert case.world.route.asked == asked
    assert case.world.ingest.board.order(first.job_id) == order.encode()
    (view,) = JobList.decode(case.client.get("/v1/jobs").content).jobs
    assert (view.job_id, view.state, view.trust_level, view.trainers) == (first.job_id, "accepted", "simulation", 2)


def test_a_crash_after_the_broker_accepted_loses_nothing(case: Case) -> None:
    order = case.order()
    case.world.broker.accept(order, case.owner)  # the broker has used it up, the board never heard of it
    assert OrderReceipt.decode(case.client.submit(order).content).job_id == JobId.of(order.digest)


def order_of(case: Case) -> Any:
    return case.world.broker.order(case.data, case.bundle, not_after=int(time.time()) + 3600)


def without_bundle(case: Case) -> Signed:
    return sign(order_of(case).model_copy(update={"bundle": BundleId("bundle_" + "0" * 32)}), case.owner.key)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda case: case.order(not_after=int(time.time()) - 1), (409, "freshness.order")),
        (lambda case: case.order(release=sha256(b"another release")), (403, "appraisal.release")),
        (lambda case: sign(order_of(case), Party().key), (403, "authenticity.signature")),
        (lambda case: case.order(trainers=64), (403, "policy.slots")),
        (without_bundle, (404, "not_found.bundle")),
    ],
    ids=["expired", "another release", "wrong signer", "too many trainers", "unknown bundle"],
)
def test_a_bad_order_is_refused(case: Case, spoil: Callable[[Case], Signed], expected: tuple[int, str]) -> None:
    answer = case.client.submit(spoil(case))
    assert (answer.status_code, code(answer)) == expected
    assert JobList.decode(case.client.get("/v1/jobs").content).jobs == ()


def test_another_party_cannot_bring_an_order(case: Case) -> None:
    answer = case.world.client().submit(case.order())
    assert (answer.status_code, code(answer)) == (403, "policy.signer")


def test_malformed_orders_are_refused(case: Case) -> None:
    order = case.order()
    bodies = [b"", b"{", b"[]", b"null", order.encode()[:-1], order.encode() + b"x", b"{}"]
    for body in bodies:
        answer = case.client.post("/v1/orders", body)
        assert (answer.status_code, code(answer)) == (400, "format.message")


def test_while_the_broker_is_away_an_order_is_not_accepted_and_may_come_again(case: Case) -> None:
    order, ask = case.order(), case.world.route.ask

    def away(raw: bytes) -> bytes:
        raise UnavailableError("unavailable.broker")

    case.world.route.ask = away  # type: ignore[method-assign]
    answer = case.client.submit(order)
    assert (answer.status_code, code(answer)) == (503, "unavailable.broker")
    case.world.route.ask = ask  # type: ignore[method-assign]
    assert case.client.submit(order).status_code == 200


def test_what_is_not_ones_own_is_unknown(case: Case) -> None:
    job_id, stranger = case.submitted(), case.world.client()
    assert JobList.decode(stranger.get("/v1/jobs").content).jobs == ()
    for unknown in (job_id, "job_" + "0" * 32):
        for answer in [stranger.get(f"/v1/jobs/{unknown}{tail}") for tail in ("", "/events", "/reports")] + [
            stranger.post(f"/v1/jobs/{unknown}/cancel")
        ]:
            assert (answer.status_code, code(answer)) == (404, "not_found.job")
    assert code(stranger.get("/v1/models/model_" + "0" * 32)) == "not_found.model"
    assert code(stranger.get("/v1/jobs/../etc")) in {"not_found.path", "format.identifier"}
    assert code(stranger.get("/v1/jobs/JOB_1")) == "format.identifier"


def test_reports_and_events_come_in_pages_after_a_number(case: Case) -> None:
    job_id, board = case.submitted(), case.world.ingest.board
    for sequence in range(3):
        board.add_report(job_id, case.owner.party, sequence, b"sealed %d" % sequence)
    got = JobReports.decode(case.client.get(f"/v1/jobs/{job_id}/reports").content).reports
    assert [(one.sequence, one.sealed) for one in got] == [(n, b"sealed %d" % n) for n in range(3)]
    later = JobReports.decode(case.client.get(f"/v1/jobs/{job_id}/reports?after=1").content).reports
    assert [one.sequence for one in later] == [2]
    events = JobEvents.decode(case.client.get(f"/v1/jobs/{job_id}/events").content).events
    assert [one.kind for one in events] == ["accepted"]
    assert JobEvents.decode(case.client.get(f"/v1/jobs/{job_id}/events?after={events[0].number}").content).events == ()
    assert code(case.client.get(f"/v1/jobs/{job_id}/events?after=-1")) == "format.message"
    assert code(case.client.get(f"/v1/jobs/{job_id}/reports?after=x")) == "format.message"


def test_a_report_to_the_provider_is_for_the_provider_alone(case: Case) -> None:
    job_id, board, provider = case.submitted(), case.world.ingest.board, case.world.client()
    path = f"/v1/jobs/{job_id}/provider-report"
    assert code(provider.get(path)) == "not_found.report"
    for sealed in (b"the first", b"another"):
        board.keep_provider_report(job_id, provider.key.party, sealed)
    assert ProviderReportView.decode(provider.get(path).content).sealed == b"the first"
    for stranger in (case.client, case.world.client()):
        assert (stranger.get(path).status_code, code(stranger.get(path))) == (404, "not_found.report")
    assert code(provider.get(f"/v1/jobs/job_{'0' * 32}/provider-report")) == "not_found.report"
    assert code(provider.get(f"/v1/jobs/{job_id}")) == "not_found.job"  # it learns no more of it


def test_a_jobs_clock_is_for_its_owners_and_its_bundles_provider(case: Case) -> None:
    job_id, slots, world = case.submitted(), case.world.ingest.board.slots, case.world
    path = f"/v1/jobs/{job_id}/progress"
    provider = world.client(world.broker.provider)
    before = JobProgress.decode(case.client.get(path).content)
    assert (before.state, before.begun_at, before.ended_at) == ("accepted", None, None)
    assert before.schedule == TrainingOrder.decode(case.order().payload).schedule
    slots.heartbeat("t", TRAINER, 2)
    slots.heartbeat("p", "paramserver", 1)
    slots.reserve()
    assert slots.claim(Slot(job_id, TRAINER, 0), "t")
    running = JobProgress.decode(provider.get(path).content)
    assert running.state == "running"
    assert running.begun_at is not None
    assert before.accepted_at <= running.begun_at <= running.now
    case.world.ingest.board.finish(job_id, "failed", code="unavailable.rounds")
    over = JobProgress.decode(provider.get(path).content)
    assert (over.state, over.begun_at) == ("failed", running.begun_at)
    assert over.ended_at is not None
    stranger = world.client()
    assert (stranger.get(path).status_code, code(stranger.get(path))) == (404, "not_found.job")
    assert code(provider.get(f"/v1/jobs/job_{'0' * 32}/progress")) == "not_found.job"
    for rest in ("", "/events", "/reports"):
        assert code(provider.get(f"/v1/jobs/{job_id}{rest}")) == "not_found.job"  # it learns no more of it


@pytest.mark.parametrize("with_revocation", [True, False])
def test_cancelling_ends_a_job_and_frees_its_slots(case: Case, with_revocation: bool) -> None:
    job_id, slots = case.submitted(), case.world.ingest.board.slots
    slots.heartbeat("t", TRAINER, 2)
    slots.heartbeat("p", "paramserver", 1)
    assert slots.reserve() == [job_id]
    assert slots.claim(Slot(job_id, TRAINER, 0), "t")
    body = revoke_request(case.world, case.owner, "job", job_id) if with_revocation else b""
    for _ in range(2 - with_revocation):
        view = JobView.decode(case.client.post(f"/v1/jobs/{job_id}/cancel", body).content)
        assert view.state == "cancelled"
    assert slots.renew(Slot(job_id, TRAINER, 0), "t") is Lease.OVER


def test_the_model_of_ones_job_can_be_read(case: Case) -> None:
    job_id, board, store = case.submitted(), case.world.ingest.board, case.world.ingest.store
    root, model_id = Digest("c3" * 32), ModelId("model_" + job_id[4:])
    board.finish(job_id, "finished", model=(model_id, b"signed manifest", root))
    assert case.client.get(f"/v1/models/{model_id}").content == b"signed manifest"
    assert JobView.decode(case.client.get(f"/v1/jobs/{job_id}").content).model_id == model_id
    assert code(case.world.client().get(f"/v1/models/{model_id}")) == "not_found.model"
    store.staging(root).write(0, b"")
    assert code(case.client.get(f"/v1/objects/{root}/leaves/0")) == "not_found.object"  # not committed


def test_an_unenrolled_owner_cannot_order(world: IngestWorld) -> None:
    stranger = PartyClient(world.http, Party().key)
    answer = stranger.post("/v1/orders", b"{}")
    assert (answer.status_code, code(answer)) == (403, "authenticity.http_signature")
