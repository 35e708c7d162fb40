"""The HTTP routes: each admits a signed request and calls one function (side: host).

Bodies and answers: common/messages/service.py and docs/formats.md. Handlers are plain functions, so they run on worker
threads; identifiers in paths are parsed by their types. Those of stored things are in `object_routes`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from common.errors import AuthenticityError, QuotaError
from common.identifiers import JobId, ModelId
from common.messages.broker_exchange import BrokerRequest
from common.messages.service import (
    EnrolIdentity,
    IdentityView,
    JobEvents,
    JobList,
    JobProgress,
    JobReports,
    JobView,
    Machines,
    OrderReceipt,
    ProviderReportView,
)
from common.messages.signed import Signed
from common.untrusted.http_address import sender_address
from common.untrusted.http_description import describe
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON, OCTETS
from common.untrusted.registry import Registry
from common.untrusted.request_quota import RequestQuota
from services.ingest.intake import Intake
from services.ingest.job_desk import JobDesk
from services.ingest.object_routes import Number, as_json, bundle_routes, dataset_routes, object_routes, upload_routes
from services.ingest.publishing import Publishing
from services.ingest.submission import Submission

RECOVERIES_PER_SECOND: Final = 2.0
RECOVERY_BURST: Final = 50
"""Recovery statements of one address, whoever signs: the key broker judges each, and hears few strangers elsewhere."""


@dataclass(frozen=True)
class Desks:
    """What the routes call. `open_quota_bytes`: quota of whoever enrols himself; None: nobody may."""

    registry: Registry
    intake: Intake
    publishing: Publishing
    submission: Submission
    jobs: JobDesk
    open_quota_bytes: int | None


def all_routes(desks: Desks, gate: RequestGate) -> list[APIRouter]:
    """Everything below /v1."""
    return [
        _identities(desks, gate),
        upload_routes(desks.intake, gate),
        object_routes(desks.intake, gate),
        dataset_routes(desks.publishing, gate),
        bundle_routes(desks.publishing, gate),
        _jobs(desks, gate),
    ]


def _identities(desks: Desks, gate: RequestGate) -> APIRouter:
    router, recoveries = APIRouter(prefix="/v1/identities"), RequestQuota(RECOVERIES_PER_SECOND, RECOVERY_BURST)

    async def count(request: Request) -> None:
        recoveries.charge(sender_address(request))

    def view(request: PartyRequest) -> Response:
        usage = desks.registry.usage(request.party)
        return as_json(IdentityView(party=request.party, quota_bytes=usage.quota_bytes, used_bytes=usage.used_bytes))

    @router.post("", openapi_extra=describe(takes=EnrolIdentity, gives=IdentityView))
    def enrol(request: Annotated[PartyRequest, Depends(gate.admit_anybody)]) -> Response:
        if EnrolIdentity.decode(request.body).party != request.party:
            raise AuthenticityError("authenticity.http_signature", expected="a signature by the new identity itself")
        if desks.open_quota_bytes is not None:
            desks.registry.enrol(request.party, desks.open_quota_bytes)
        if not desks.registry.is_enrolled(request.party):
            raise QuotaError("quota.identities")
        return view(request)

    @router.post(
        "/recover",
        dependencies=[Depends(count)],
        openapi_extra=describe(takes=BrokerRequest, gives=Signed, media_type=OCTETS),
    )
    def recover(request: Annotated[PartyRequest, Depends(gate.admit_anybody)]) -> Response:
        return Response(desks.publishing.recover(request.body), media_type=OCTETS)

    router.get("/self", openapi_extra=describe(gives=IdentityView))(_admitting(gate, view))
    return router


def _jobs(desks: Desks, gate: RequestGate) -> APIRouter:
    router, jobs = APIRouter(prefix="/v1"), desks.jobs
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("/orders", openapi_extra=describe(takes=Signed, gives=OrderReceipt))
    def submit(request: Admitted) -> Response:
        return as_json(OrderReceipt(job_id=desks.submission.submit(request.body, request.party)))

    @router.get("/machines", openapi_extra=describe(gives=Machines))
    def machines(_request: Admitted) -> Response:
        return as_json(jobs.machines())

    @router.get("/jobs", openapi_extra=describe(gives=JobList))
    def listing(request: Admitted) -> Response:
        return as_json(JobList(jobs=tuple(jobs.jobs(request.party))))

    @router.get("/jobs/{job_id}", openapi_extra=describe(gives=JobView))
    def job(job_id: JobId, request: Admitted) -> Response:
        return as_json(jobs.job(request.party, job_id))

    @router.get("/jobs/{job_id}/progress", openapi_extra=describe(gives=JobProgress))
    def progress(job_id: JobId, request: Admitted) -> Response:
        return as_json(jobs.progress(request.party, job_id))

    @router.get("/jobs/{job_id}/events", openapi_extra=describe(gives=JobEvents))
    def events(job_id: JobId, request: Admitted, after: Number = 0) -> Response:
        return as_json(JobEvents(events=tuple(jobs.events(request.party, job_id, after))))

    @router.get("/jobs/{job_id}/reports", openapi_extra=describe(gives=JobReports))
    def reports(job_id: JobId, request: Admitted, after: Number | None = None) -> Response:
        above = -1 if after is None else after
        return as_json(JobReports(reports=tuple(jobs.reports(request.party, job_id, above))))

    @router.get("/jobs/{job_id}/provider-report", openapi_extra=describe(gives=ProviderReportView))
    def provider_report(job_id: JobId, request: Admitted) -> Response:
        return as_json(jobs.provider_report(request.party, job_id))

    @router.post("/jobs/{job_id}/cancel", openapi_extra=describe(takes=BrokerRequest, optional=True, gives=JobView))
    def cancel(job_id: JobId, request: Admitted) -> Response:
        jobs.job(request.party, job_id)
        desks.publishing.revoke(request.party, job_id, request.body)
        return as_json(jobs.cancel(request.party, job_id))

    @router.get("/models/{model_id}", openapi_extra=describe(gives=Signed))
    def manifest(model_id: ModelId, request: Admitted) -> Response:
        return Response(jobs.manifest(request.party, model_id), media_type=JSON)

    return router


def _admitting(gate: RequestGate, view: Callable[[PartyRequest], Response]) -> Callable[..., Response]:
    def handler(request: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        return view(request)

    return handler
