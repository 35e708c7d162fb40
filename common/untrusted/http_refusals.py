"""Refusals as HTTP answers: `{"code", "mender", "mend"}` and the status of the error's class (side: host).

One table, `Refusal.http_status`, for every service. What is no refusal of ours is a 500 that says nothing of its cause;
its text goes nowhere, for it may quote what was sent.
"""

import logging
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from common.errors import FormatError, NotFoundError, Refusal, UnavailableError
from common.event_log import log_event
from common.messages.service import RefusalBody
from common.untrusted.metrics import REFUSALS

_log = logging.getLogger("http")

STATUS_OF_CODE: Final = {"format.too_large": 413, "format.media_type": 415, "quota.requests": 429}
"""Codes that HTTP has a status of its own for."""

RETRY_AFTER_SECONDS: Final = 1
"""After which a quota of requests has an allowance again."""

JSON: Final = "application/json"
OCTETS: Final = "application/octet-stream"


def refusal_response(refusal: Refusal) -> Response:
    """The answer to a request that is refused, which is counted."""
    REFUSALS.labels(refusal.code).inc()
    status = STATUS_OF_CODE.get(refusal.code, refusal.http_status)
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if refusal.code == "quota.requests" else None
    return Response(RefusalBody.of(refusal).encode(), status, headers, media_type=JSON)


def answer_refusals(app: FastAPI) -> None:
    """Give `app` the handlers: our refusals, unknown paths, malformed parameters, and everything unforeseen."""

    @app.exception_handler(Refusal)
    async def refused(_request: Request, refusal: Refusal) -> Response:
        return refusal_response(refusal)

    @app.exception_handler(RequestValidationError)
    async def malformed(_request: Request, error: RequestValidationError) -> Response:
        is_name = any(one["type"] == "string_pattern_mismatch" for one in error.errors())
        return refusal_response(FormatError("format.identifier" if is_name else "format.message"))

    @app.exception_handler(HTTPException)
    async def unknown(_request: Request, error: HTTPException) -> Response:
        code: Refusal = NotFoundError("not_found.path") if error.status_code == 404 else FormatError("format.message")
        answer = refusal_response(code)
        answer.status_code = error.status_code
        return answer

    @app.exception_handler(Exception)
    async def unforeseen(_request: Request, error: Exception) -> Response:
        log_event(_log, "request_failed", logging.ERROR, reason=type(error).__name__)
        answer = refusal_response(UnavailableError("unavailable.service"))
        answer.status_code = 500
        return answer
