"""HTTP routes of the decision log (side: host).

GET /v1/log/head                               -> Signed TreeHead, made by the enclave now
GET /v1/log/entries?first=N                    -> LogPage; signed requests get the entries that concern their party
GET /v1/log/inclusion?number=N&size=N          -> InclusionProof
GET /v1/log/consistency?earlier=N&size=N       -> ConsistencyProof
"""

import secrets
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from common.errors import FormatError, refusal_of
from common.identifiers import PartyKey
from common.messages.attestation import BrokerReply, BrokerRequest, HeadSigned, Refused, SignHead
from common.messages.base import Message
from common.messages.decision_log import ConsistencyProof, InclusionProof, LogPage
from common.messages.signed import Signed
from common.untrusted.http_description import describe
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_refusals import JSON
from services.attestation.log_store import LogStore

NONCE_BYTES: Final = 32
Number = Annotated[int, Query(ge=0, le=1 << 48)]


class _Nobody:
    """This service knows no identities: whom an entry concerns, the entry says."""

    def is_enrolled(self, party: PartyKey) -> bool:  # noqa: ARG002 - the answer is the same for all
        return False


def log_router(ask: Callable[[bytes], bytes], store: LogStore) -> APIRouter:
    """The routes; `ask` carries a request to the enclave."""
    router, gate = APIRouter(prefix="/v1/log"), RequestGate(_Nobody())

    @router.get("/head", openapi_extra=describe(gives=Signed))
    def head() -> Response:
        return _json(signed_head(ask))

    @router.get("/entries", openapi_extra=describe(gives=LogPage))
    async def entries(request: Request, first: Number = 0) -> Response:
        signed = "signature-input" in request.headers
        reader = (await gate.admit_anybody(request)).party if signed else None
        return _json(await run_in_threadpool(store.page, first, reader))

    @router.get("/inclusion", openapi_extra=describe(gives=InclusionProof))
    def inclusion(number: Number, size: Number) -> Response:
        return _json(store.inclusion(number, size))

    @router.get("/consistency", openapi_extra=describe(gives=ConsistencyProof))
    def consistency(earlier: Number, size: Number) -> Response:
        return _json(store.consistency(earlier, size))

    return router


def signed_head(ask: Callable[[bytes], bytes]) -> Signed:
    """The enclave's word about its log. Its reply is carried, not checked: whoever reads the head checks that."""
    request = BrokerRequest(nonce=secrets.token_bytes(NONCE_BYTES), body=SignHead()).encode()
    body = BrokerReply.decode(Signed.decode(ask(request)).payload).body
    if isinstance(body, Refused):
        raise refusal_of(body.code)
    if not isinstance(body, HeadSigned):
        raise FormatError("format.message", expected="head-signed", seen=body.type)
    return body.head


def _json(message: Message) -> Response:
    return Response(message.encode(), media_type=JSON)
