"""The HTTP routes: each admits a signed request and calls one function (side: host).

Bodies and answers: common/messages/service.py and docs/formats.md. Handlers are plain functions, so they run on worker
threads; identifiers in paths are parsed by their types.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from common.errors import AuthenticityError, FormatError, QuotaError
from common.identifiers import BundleId, DatasetId, Digest, JobId, ModelId, UploadId
from common.messages.base import Message
from common.messages.service import (
    BeginUpload,
    BundleList,
    DatasetList,
    Deleted,
    EnrolIdentity,
    IdentityView,
    JobEvents,
    JobList,
    JobReports,
    ObjectList,
    OrderReceipt,
)
from common.untrusted.blobs import MAX_LEAF_BYTES
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON, OCTETS
from common.untrusted.registry import Registry
from services.ingest.intake import Intake
from services.ingest.job_desk import JobDesk
from services.ingest.publishing import Publishing
from services.ingest.submission import Submission

NO_CONTENT: Final = 204


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
        _uploads(desks.intake, gate),
        _objects(desks.intake, gate),
        _datasets(desks.publishing, gate),
        _bundles(desks.publishing, gate),
        _jobs(desks, gate),
    ]


def _identities(desks: Desks, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/identities")

    def view(request: PartyRequest) -> Response:
        usage = desks.registry.usage(request.party)
        return _json(IdentityView(party=request.party, quota_bytes=usage.quota_bytes, used_bytes=usage.used_bytes))

    @router.post("")
    def enrol(request: Annotated[PartyRequest, Depends(gate.admit_anybody)]) -> Response:
        if EnrolIdentity.decode(request.body).party != request.party:
            raise AuthenticityError("authenticity.http_signature", expected="a signature by the new identity itself")
        if desks.open_quota_bytes is not None:
            desks.registry.enrol(request.party, desks.open_quota_bytes)
        elif not desks.registry.is_enrolled(request.party):
            raise QuotaError("quota.identities")
        return view(request)

    router.get("/self")(_admitting(gate, view))
    return router


def _uploads(intake: Intake, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/uploads")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]
    Leaf = Annotated[PartyRequest, Depends(gate.limited(MAX_LEAF_BYTES))]

    @router.post("")
    def begin(request: Admitted) -> Response:
        return _json(intake.begin(request.party, BeginUpload.decode(request.body)))

    @router.get("/{upload_id}")
    def state(upload_id: str, request: Admitted) -> Response:
        return _json(intake.state(request.party, UploadId(upload_id)))

    @router.put("/{upload_id}/leaves/{leaf}")
    def put_leaf(upload_id: str, leaf: str, request: Leaf) -> Response:
        intake.put_leaf(request.party, UploadId(upload_id), _number(leaf), request.body)
        return Response(status_code=NO_CONTENT)

    @router.post("/{upload_id}/complete")
    def complete(upload_id: str, request: Admitted) -> Response:
        return _json(intake.complete(request.party, UploadId(upload_id)))

    @router.delete("/{upload_id}")
    def abandon(upload_id: str, request: Admitted) -> Response:
        intake.abandon(request.party, UploadId(upload_id))
        return _json(Deleted(identifier=upload_id))

    return router


def _objects(intake: Intake, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/objects")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.get("")
    def objects(request: Admitted) -> Response:
        return _json(ObjectList(objects=tuple(intake.objects(request.party))))

    @router.get("/{root}/leaves/{leaf}")
    def read_leaf(root: str, leaf: str, request: Admitted) -> Response:
        return Response(intake.read_leaf(request.party, Digest(root), _number(leaf)), media_type=OCTETS)

    @router.delete("/{root}")
    def delete(root: str, request: Admitted) -> Response:
        intake.delete_object(request.party, Digest(root))
        return _json(Deleted(identifier=root))

    return router


def _datasets(publishing: Publishing, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/datasets")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("")
    def register(request: Admitted) -> Response:
        return Response(publishing.register_dataset(request.party, request.body), media_type=JSON)

    @router.get("")
    def datasets(request: Admitted) -> Response:
        return _json(DatasetList(datasets=tuple(publishing.datasets(request.party))))

    @router.get("/{dataset_id}")
    def manifest(dataset_id: str, request: Admitted) -> Response:
        return _json(publishing.manifest(request.party, DatasetId(dataset_id)))

    @router.delete("/{dataset_id}")
    def delete(dataset_id: str, request: Admitted) -> Response:
        publishing.delete_dataset(request.party, DatasetId(dataset_id), request.body)
        return _json(Deleted(identifier=dataset_id))

    return router


def _bundles(publishing: Publishing, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/bundles")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("")
    def register(request: Admitted) -> Response:
        return Response(publishing.register_bundle(request.party, request.body), media_type=JSON)

    @router.get("")
    def bundles(request: Admitted) -> Response:
        return _json(BundleList(bundles=tuple(publishing.bundles(request.party))))

    @router.get("/{bundle_id}", dependencies=[Depends(gate.admit)])
    def publication(bundle_id: str) -> Response:
        return _json(publishing.publication(BundleId(bundle_id)))

    @router.delete("/{bundle_id}")
    def delete(bundle_id: str, request: Admitted) -> Response:
        publishing.delete_bundle(request.party, BundleId(bundle_id), request.body)
        return _json(Deleted(identifier=bundle_id))

    return router


def _jobs(desks: Desks, gate: RequestGate) -> APIRouter:
    router, jobs = APIRouter(prefix="/v1"), desks.jobs
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("/orders")
    def submit(request: Admitted) -> Response:
        return _json(OrderReceipt(job_id=desks.submission.submit(request.body, request.party)))

    @router.get("/jobs")
    def listing(request: Admitted) -> Response:
        return _json(JobList(jobs=tuple(jobs.jobs(request.party))))

    @router.get("/jobs/{job_id}")
    def job(job_id: str, request: Admitted) -> Response:
        return _json(jobs.job(request.party, JobId(job_id)))

    @router.get("/jobs/{job_id}/events")
    def events(job_id: str, request: Admitted, after: str = "0") -> Response:
        return _json(JobEvents(events=tuple(jobs.events(request.party, JobId(job_id), _number(after)))))

    @router.get("/jobs/{job_id}/reports")
    def reports(job_id: str, request: Admitted, after: str | None = None) -> Response:
        above = -1 if after is None else _number(after)
        return _json(JobReports(reports=tuple(jobs.reports(request.party, JobId(job_id), above))))

    @router.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str, request: Admitted) -> Response:
        jobs.job(request.party, JobId(job_id))
        desks.publishing.revoke(request.party, job_id, request.body)
        return _json(jobs.cancel(request.party, JobId(job_id)))

    @router.get("/models/{model_id}")
    def manifest(model_id: str, request: Admitted) -> Response:
        return Response(jobs.manifest(request.party, ModelId(model_id)), media_type=JSON)

    return router


def _admitting(gate: RequestGate, view: Callable[[PartyRequest], Response]) -> Callable[..., Response]:
    def handler(request: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        return view(request)

    return handler


def _json(message: Message) -> Response:
    return Response(message.encode(), media_type=JSON)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise FormatError("format.message", expected="a number")
    return int(text)
