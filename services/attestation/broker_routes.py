"""The key broker over HTTP (side: host).

POST /v1/broker    encoded BrokerRequest -> encoded Signed(BrokerReply); 200 whenever the enclave answered: refusals
                   are inside and signed. The request is signed (common/http_signatures) by one of `callers`;
                   `describe-broker` alone needs no signature.
"""

import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response

from common.errors import Refusal
from common.messages.broker_exchange import BrokerRequest, RequestBody
from common.messages.signed import Signed
from common.untrusted.carried import ByteCount
from common.untrusted.http_description import Service, describe
from common.untrusted.http_direct import add_direct_route
from common.untrusted.http_identity import RequestGate, is_signed
from common.untrusted.http_refusals import OCTETS
from services.attestation.callers import Callers
from services.attestation.noted_answers import note_answer
from services.attestation.strangers import Strangers, require_description

Carry = Callable[[bytes], Awaitable[bytes]]
"""Carries a request to the enclave; its reply (`BrokerRelay.carry`)."""

_BROKER = describe(takes=BrokerRequest, gives=Signed, media_type=OCTETS)


def add_broker_route(
    app: Service, carried: ByteCount, carry: Carry, gate: RequestGate, callers: Callers, strangers: Strangers
) -> None:
    """The route."""

    async def broker(request: Request) -> Response:
        if not is_signed(request):
            async with strangers.unsigned_body(request) as raw:
                require_description(raw)
                return Response(await carry(raw), media_type=OCTETS)
        admitted = await gate.admit(request)
        asked = body_of(admitted.body)
        if asked is not None:
            callers.require_may_ask(admitted.party, asked)
        began = time.monotonic()
        answer = await carry(admitted.body)
        if asked is not None:
            note_answer(asked, answer, time.monotonic() - began)
        return Response(answer, media_type=OCTETS)

    add_direct_route(app, "/v1/broker", broker, method="POST", openapi_extra=_BROKER, carried=carried)


def body_of(raw: bytes) -> RequestBody | None:
    """What is asked. What is no request the enclave refuses itself, with its signature."""
    try:
        return BrokerRequest.decode(raw).body
    except Refusal:
        return None
