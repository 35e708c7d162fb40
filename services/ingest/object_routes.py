"""HTTP routes of uploads, objects, data sets and bundles (side: host)."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response

from common.errors import FormatError
from common.identifiers import BundleId, DatasetId, Digest, UploadId
from common.messages.base import Message
from common.messages.service import BeginUpload, BundleList, DatasetList, Deleted, ObjectList
from common.untrusted.blobs import MAX_LEAF_BYTES
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON, OCTETS
from services.ingest.intake import Intake
from services.ingest.publishing import Publishing

NO_CONTENT: Final = 204


def upload_routes(intake: Intake, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/uploads")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]
    Leaf = Annotated[PartyRequest, Depends(gate.limited(MAX_LEAF_BYTES))]

    @router.post("")
    def begin(request: Admitted) -> Response:
        return as_json(intake.begin(request.party, BeginUpload.decode(request.body)))

    @router.get("/{upload_id}")
    def state(upload_id: str, request: Admitted) -> Response:
        return as_json(intake.state(request.party, UploadId(upload_id)))

    @router.put("/{upload_id}/leaves/{leaf}")
    def put_leaf(upload_id: str, leaf: str, request: Leaf) -> Response:
        intake.put_leaf(request.party, UploadId(upload_id), parse_number(leaf), request.body)
        return Response(status_code=NO_CONTENT)

    @router.post("/{upload_id}/complete")
    def complete(upload_id: str, request: Admitted) -> Response:
        return as_json(intake.complete(request.party, UploadId(upload_id)))

    @router.delete("/{upload_id}")
    def abandon(upload_id: str, request: Admitted) -> Response:
        intake.abandon(request.party, UploadId(upload_id))
        return as_json(Deleted(identifier=upload_id))

    return router


def object_routes(intake: Intake, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/objects")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.get("")
    def objects(request: Admitted, after: str = "") -> Response:
        return as_json(ObjectList(objects=tuple(intake.objects(request.party, after))))

    @router.get("/{root}/leaves/{leaf}")
    def read_leaf(root: str, leaf: str, request: Admitted) -> Response:
        return Response(intake.read_leaf(request.party, Digest(root), parse_number(leaf)), media_type=OCTETS)

    @router.delete("/{root}")
    def delete(root: str, request: Admitted) -> Response:
        intake.delete_object(request.party, Digest(root))
        return as_json(Deleted(identifier=root))

    return router


def dataset_routes(publishing: Publishing, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/datasets")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("")
    def register(request: Admitted) -> Response:
        return Response(publishing.register_dataset(request.party, request.body), media_type=JSON)

    @router.get("")
    def datasets(request: Admitted) -> Response:
        return as_json(DatasetList(datasets=tuple(publishing.datasets(request.party))))

    @router.get("/{dataset_id}")
    def manifest(dataset_id: str, request: Admitted) -> Response:
        return as_json(publishing.manifest(request.party, DatasetId(dataset_id)))

    @router.delete("/{dataset_id}")
    def delete(dataset_id: str, request: Admitted) -> Response:
        publishing.delete_dataset(request.party, DatasetId(dataset_id), request.body)
        return as_json(Deleted(identifier=dataset_id))

    return router


def bundle_routes(publishing: Publishing, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/bundles")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("")
    def register(request: Admitted) -> Response:
        return Response(publishing.register_bundle(request.party, request.body), media_type=JSON)

    @router.get("")
    def bundles(request: Admitted) -> Response:
        return as_json(BundleList(bundles=tuple(publishing.bundles(request.party))))

    @router.get("/{bundle_id}", dependencies=[Depends(gate.admit)])
    def publication(bundle_id: str) -> Response:
        return as_json(publishing.publication(BundleId(bundle_id)))

    @router.delete("/{bundle_id}")
    def delete(bundle_id: str, request: Admitted) -> Response:
        publishing.delete_bundle(request.party, BundleId(bundle_id), request.body)
        return as_json(Deleted(identifier=bundle_id))

    return router


def as_json(message: Message) -> Response:
    """A message as an answer."""
    return Response(message.encode(), media_type=JSON)


def parse_number(text: str) -> int:
    """A number in a path or query. Raises `FormatError`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 15):
        raise FormatError("format.message", expected="a number")
    return int(text)
