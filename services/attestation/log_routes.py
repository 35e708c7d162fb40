"""HTTP routes of the decision log (side: host).

GET /v1/log/head                               -> Signed TreeHead, made by the enclave now
GET /v1/log/entries?first=N                    -> LogPage, with the entries that concern the enrolled party that signed
GET /v1/log/inclusion?number=N&size=N          -> InclusionProof
GET /v1/log/consistency?earlier=N&size=N       -> ConsistencyProof
POST /v1/log/next    BrokerRequest, `await-head` -> NextHead: the enclave's reply, and the proof up to its head
"""

import secrets
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response

from common.errors import FormatError, Refusal, refusal_of
from common.messages.base import Message
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.decision_log import ConsistencyProof, InclusionProof, LogPage, NextHead
from common.messages.log_heads import AwaitHead, HeadSigned, SignHead
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed
from common.untrusted.http_description import describe
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON
from services.attestation.callers import Callers
from services.attestation.log_store import LogStore
from services.attestation.strangers import Strangers

NONCE_BYTES: Final = 32
Number = Annotated[int, Query(ge=0, le=1 << 48)]


def log_router(
    ask: Callable[[bytes], bytes], store: LogStore, gate: RequestGate, callers: Callers, strangers: Strangers
) -> APIRouter:
    """The routes; `ask` carries a request to the enclave."""
    router, open_to_all = APIRouter(prefix="/v1/log"), [Depends(strangers.admit)]

    @router.get("/head", dependencies=open_to_all, openapi_extra=describe(gives=Signed))
    def head() -> Response:
        return _json(signed_head(ask))

    @router.get("/entries", openapi_extra=describe(gives=LogPage))
    def entries(request: Annotated[PartyRequest, Depends(gate.admit)], first: Number = 0) -> Response:
        return _json(store.page(first, request.party))

    @router.get("/inclusion", dependencies=open_to_all, openapi_extra=describe(gives=InclusionProof))
    def inclusion(number: Number, size: Number) -> Response:
        return _json(store.inclusion(number, size))

    @router.get("/consistency", dependencies=open_to_all, openapi_extra=describe(gives=ConsistencyProof))
    def consistency(earlier: Number, size: Number) -> Response:
        return _json(store.consistency(earlier, size))

    @router.post("/next", openapi_extra=describe(takes=BrokerRequest, gives=NextHead))
    def following(request: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        asked = BrokerRequest.decode(request.body).body
        callers.require_may_ask(request.party, asked)
        if not isinstance(asked, AwaitHead):
            raise FormatError("format.message", expected="await-head", seen=asked.type)
        return _json(next_head(store, asked.known, ask(request.body)))

    return router


def next_head(store: LogStore, known: int, reply: bytes) -> NextHead:
    """The enclave's reply as it came, and the proof from `known` to its head, if there is one and it is stored."""
    try:
        size = BrokerReply.decode(Signed.decode(reply).payload).head.size
        proof = store.consistency(known, size) if 0 < known < size else None
    except Refusal:
        proof = None  # the witness asks for it by its own request, and is told why there is none
    return NextHead(reply=reply, proof=proof)


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
