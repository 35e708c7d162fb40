"""HTTP routes of the decision log (side: host).

GET /v1/log/head                               -> Signed TreeHead, made by the enclave now
GET /v1/log/entries?first=N                    -> LogPage, with the entries that concern the enrolled party that signed
GET /v1/log/inclusion?number=N&size=N          -> InclusionProof
GET /v1/log/consistency?earlier=N&size=N       -> ConsistencyProof
POST /v1/log/next    BrokerRequest, `await-head` or `confirm-and-await` -> NextHead: the enclave's reply, and the proof
                                                  up to its head
"""

import secrets
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from common.errors import FormatError, Refusal, refusal_of
from common.messages.base import Message
from common.messages.broker_exchange import BrokerReply, BrokerRequest
from common.messages.decision_log import ConsistencyProof, InclusionProof, LogPage, NextHead
from common.messages.log_heads import AwaitHead, ConfirmAndAwait, HeadSigned, SignHead
from common.messages.refusal_detail import Refused
from common.messages.signed import Signed
from common.untrusted.carried import ByteCount
from common.untrusted.http_description import Service, describe
from common.untrusted.http_direct import add_direct_route
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON
from services.attestation.broker_routes import Carry
from services.attestation.callers import Callers
from services.attestation.log_store import LogStore
from services.attestation.strangers import Strangers

NONCE_BYTES: Final = 32
_NEXT: Final = describe(takes=BrokerRequest, gives=NextHead)
Number = Annotated[int, Query(ge=0, le=1 << 48)]


def log_router(ask: Callable[[bytes], bytes], store: LogStore, gate: RequestGate, strangers: Strangers) -> APIRouter:
    """The routes but `next`; `ask` carries a request to the enclave."""
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

    return router


def add_next_head_route(
    app: Service, carried: ByteCount, carry: Carry, store: LogStore, gate: RequestGate, callers: Callers
) -> None:
    """`next`, which each decision waits for."""

    async def following(request: Request) -> Response:
        admitted = await gate.admit(request)
        asked = BrokerRequest.decode(admitted.body).body
        callers.require_may_ask(admitted.party, asked)
        if not isinstance(asked, AwaitHead | ConfirmAndAwait):
            raise FormatError("format.message", expected="await-head or confirm-and-await", seen=asked.type)
        reply = await carry(admitted.body)
        return _json(await run_in_threadpool(next_head, store, asked.known, reply))

    add_direct_route(app, "/v1/log/next", following, method="POST", openapi_extra=_NEXT, carried=carried)


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
