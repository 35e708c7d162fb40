"""HTTP routes of uploads, objects, data sets and bundles (side: host)."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response
from pydantic import BeforeValidator, Field

from common.errors import FormatError
from common.identifiers import BundleId, DatasetId, Digest, UploadId
from common.messages.base import Message
from common.messages.broker_exchange import BrokerRequest
from common.messages.service import BeginUpload, BundleList, DatasetList, Deleted, ObjectList, UploadState
from common.messages.signed import Signed
from common.untrusted.blobs import MAX_LEAF_BYTES
from common.untrusted.http_description import describe
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON, OCTETS
from services.ingest.intake import Intake
from services.ingest.publishing import Publishing

NO_CONTENT: Final = 204
_DIGITS: Final = 15


def parse_number(text: str) -> int:
    """A number in a path or query. Raises `FormatError`."""
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise FormatError("format.message", expected="a number")
    return int(text)


Number = Annotated[int, Field(ge=0, lt=10**_DIGITS), BeforeValidator(parse_number)]
"""A number in a path or query, in digits alone."""


def upload_routes(intake: Intake, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/uploads")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]
    Leaf = Annotated[PartyRequest, Depends(gate.limited(MAX_LEAF_BYTES))]

    @router.post("", openapi_extra=describe(takes=BeginUpload, gives=UploadState))
    def begin(request: Admitted) -> Response:
        return as_json(intake.begin(request.party, BeginUpload.decode(request.body)))

    @router.get("/{upload_id}", openapi_extra=describe(gives=UploadState))
    def state(upload_id: UploadId, request: Admitted) -> Response:
        return as_json(intake.state(request.party, upload_id))

    @router.put("/{upload_id}/leaves/{leaf}", status_code=NO_CONTENT, openapi_extra=describe(takes=MAX_LEAF_BYTES))
    def put_leaf(upload_id: UploadId, leaf: Number, request: Leaf) -> Response:
        intake.put_leaf(request.party, upload_id, leaf, request.body)
        return Response(status_code=NO_CONTENT)

    @router.post("/{upload_id}/complete", openapi_extra=describe(gives=UploadState))
    def complete(upload_id: UploadId, request: Admitted) -> Response:
        return as_json(intake.complete(request.party, upload_id))

    @router.delete("/{upload_id}", openapi_extra=describe(gives=Deleted))
    def abandon(upload_id: UploadId, request: Admitted) -> Response:
        intake.abandon(request.party, upload_id)
        return as_json(Deleted(identifier=upload_id))

    return router


def object_routes(intake: Intake, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/objects")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.get("", openapi_extra=describe(gives=ObjectList))
    def objects(request: Admitted, after: str = "") -> Response:
        return as_json(ObjectList(objects=tuple(intake.objects(request.party, after))))

    @router.get("/{root}/leaves/{leaf}", openapi_extra=describe(gives=MAX_LEAF_BYTES))
    def read_leaf(root: Digest, leaf: Number, request: Admitted) -> Response:
        return Response(intake.read_leaf(request.party, root, leaf), media_type=OCTETS)

    @router.delete("/{root}", openapi_extra=describe(gives=Deleted))
    def delete(root: Digest, request: Admitted) -> Response:
        intake.delete_object(request.party, root)
        return as_json(Deleted(identifier=root))

    return router


def dataset_routes(publishing: Publishing, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/datasets")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("", openapi_extra=describe(takes=BrokerRequest, gives=Signed))
    def register(request: Admitted) -> Response:
        return Response(publishing.register_dataset(request.party, request.body), media_type=JSON)

    @router.get("", openapi_extra=describe(gives=DatasetList))
    def datasets(request: Admitted) -> Response:
        return as_json(DatasetList(datasets=tuple(publishing.datasets(request.party))))

    @router.get("/{dataset_id}", openapi_extra=describe(gives=Signed))
    def manifest(dataset_id: DatasetId, request: Admitted) -> Response:
        return as_json(publishing.manifest(request.party, dataset_id))

    @router.delete("/{dataset_id}", openapi_extra=describe(takes=BrokerRequest, optional=True, gives=Deleted))
    def delete(dataset_id: DatasetId, request: Admitted) -> Response:
        publishing.delete_dataset(request.party, dataset_id, request.body)
        return as_json(Deleted(identifier=dataset_id))

    return router


def bundle_routes(publishing: Publishing, gate: RequestGate) -> APIRouter:
    router = APIRouter(prefix="/v1/bundles")
    Admitted = Annotated[PartyRequest, Depends(gate.admit)]

    @router.post("", openapi_extra=describe(takes=BrokerRequest, gives=Signed))
    def register(request: Admitted) -> Response:
        return Response(publishing.register_bundle(request.party, request.body), media_type=JSON)

    @router.get("", openapi_extra=describe(gives=BundleList))
    def bundles(request: Admitted) -> Response:
        return as_json(BundleList(bundles=tuple(publishing.bundles(request.party))))

    @router.get("/{bundle_id}", dependencies=[Depends(gate.admit)], openapi_extra=describe(gives=Signed))
    def publication(bundle_id: BundleId) -> Response:
        return as_json(publishing.publication(bundle_id))

    @router.delete("/{bundle_id}", openapi_extra=describe(takes=BrokerRequest, optional=True, gives=Deleted))
    def delete(bundle_id: BundleId, request: Admitted) -> Response:
        publishing.delete_bundle(request.party, bundle_id, request.body)
        return as_json(Deleted(identifier=bundle_id))

    return router


def as_json(message: Message) -> Response:
    """A message as an answer."""
    return Response(message.encode(), media_type=JSON)
