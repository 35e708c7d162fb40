"""Attestation results over HTTP, for readers who know JWT and not us (side: host).

POST /v1/attestation-results   BrokerRequest with `issue-token` or `appraise-evidence`, signed by an enrolled identity
                               -> the token, application/eat+jwt
GET  /v1/jwks.json             the key set (RFC 7517); `cloister_certificate` is the broker's signed word for the key

A host can withhold these, or put a key of its own into the set: whoever does not check the certificate against a
broker that he pinned trusts the host.
"""

import secrets
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from common.crypto.jws import ALGORITHM, base64url, public_jwk, thumbprint
from common.errors import FormatError, UnavailableError
from common.messages.broker_exchange import BrokerRequest, ReplyBody
from common.messages.signed import Signed
from common.messages.tokens import AppraiseEvidence, AttestationToken, IssueToken, ShowTokenKey, TokenKey, TokenKeyShown
from common.untrusted.broker_client import reply_of
from common.untrusted.http_description import describe
from common.untrusted.http_identity import PartyRequest, RequestGate
from services.attestation.relay import BrokerRelay
from services.attestation.strangers import Strangers

EAT_JWT: Final = "application/eat+jwt"
JWK_SET: Final = "application/jwk-set+json"

_TOKEN: Final = describe(takes=BrokerRequest, gives={"type": "string"}, media_type=EAT_JWT)
_KEYS: Final = {"type": "object", "properties": {"keys": {"type": "array"}}, "required": ["keys"]}
_NONCE_BYTES: Final = 32

AnswerT = TypeVar("AnswerT", AttestationToken, TokenKeyShown)


def token_router(relay: BrokerRelay, gate: RequestGate, strangers: Strangers) -> APIRouter:
    """The two routes."""
    router = APIRouter()

    @router.post("/v1/attestation-results", openapi_extra=_TOKEN)
    def attestation_results(request: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        asked = BrokerRequest.decode(request.body).body
        if not isinstance(asked, IssueToken | AppraiseEvidence):
            raise FormatError("format.message", expected="issue-token or appraise-evidence", seen=asked.type)
        answer = _expect(reply_of(relay.ask(request.body)), AttestationToken)
        return Response(answer.token, media_type=EAT_JWT)

    @router.get(
        "/v1/jwks.json",
        dependencies=[Depends(strangers.admit)],
        openapi_extra=describe(gives=_KEYS, media_type=JWK_SET),
    )
    def jwks() -> Response:
        request = BrokerRequest(nonce=secrets.token_bytes(_NONCE_BYTES), body=ShowTokenKey())
        shown = _expect(reply_of(relay.ask(request.encode())), TokenKeyShown)
        return JSONResponse({"keys": [_jwk(shown.document)]}, media_type=JWK_SET)

    return router


def _expect(body: ReplyBody, kind: type[AnswerT]) -> AnswerT:
    if not isinstance(body, kind):
        raise UnavailableError("unavailable.broker", expected=kind.__name__)
    return body


def _jwk(document: Signed) -> dict[str, Any]:
    key = TokenKey.decode(document.payload).key
    more = {"use": "sig", "alg": ALGORITHM, "kid": thumbprint(key)}
    return {**public_jwk(key), **more, "cloister_certificate": base64url(document.encode())}
