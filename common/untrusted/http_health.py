"""`/healthz`, `/readyz`, `/carried` and `/metrics` as routes of a FastAPI application (side: host)."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import NotFoundError
from common.untrusted.carried import ByteCount, Carried, is_this_machine, report_carried
from common.untrusted.health import Readiness, metrics_page
from common.untrusted.http_description import describe
from common.untrusted.http_refusals import JSON
from common.untrusted.metrics import MEDIA_TYPE, NO_SOURCES, Source

HEALTH_PATHS: Final = frozenset({"/healthz", "/readyz", "/carried", "/metrics"})

_ALIVE: Final = {"type": "object", "properties": {"alive": {"type": "boolean"}}, "required": ["alive"]}
_READY: Final = {
    "type": "object",
    "properties": {
        "ready": {"type": "boolean"},
        "waiting_for": {"type": "array", "items": {"type": "string"}},
        "reasons": {"type": "object", "additionalProperties": {"type": "string"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "required": ["ready", "waiting_for"],
    "additionalProperties": False,
}
_NOT_READY: Final = {"description": "It waits for something", "content": {JSON: {"schema": _READY}}}
_COUNTS: Final = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}


_MOST_METRICS: Final = 1 << 20
"""Bytes of a page, far above what there is."""


def health_router(
    readiness: Readiness, carried: Carried, sources: Mapping[str, Source] = NO_SOURCES, *, token: str | None = None
) -> APIRouter:
    """The four paths; nobody signs them, and nobody counts them. `sources`, `token`: as of `HealthServer`."""
    router, page = APIRouter(), metrics_page(readiness, carried, sources, token)

    @router.get("/healthz", openapi_extra=describe(gives=_ALIVE))
    def healthz() -> Response:
        return JSONResponse({"alive": True})

    @router.get("/readyz", openapi_extra=describe(gives=_READY), responses={503: _NOT_READY})
    def readyz() -> Response:
        status, body = readiness.report()
        return JSONResponse(body, status_code=status)

    @router.get("/carried", openapi_extra=describe(gives=_COUNTS))
    def carried_bytes(request: Request) -> Response:
        if not is_this_machine(request.client and request.client.host):
            raise NotFoundError("not_found.path")
        return JSONResponse(report_carried(carried))

    @router.get("/metrics", openapi_extra=describe(gives=_MOST_METRICS, media_type=MEDIA_TYPE))
    def metrics(request: Request) -> Response:
        if not page.is_for(request.client and request.client.host, request.headers.get("authorization")):
            raise NotFoundError("not_found.path")
        return Response(page.encode(), media_type=MEDIA_TYPE)

    return router


def count_bodies(app: FastAPI) -> ByteCount:
    """Count the bodies of this application's requests and answers from now on."""
    count = ByteCount()
    app.add_middleware(_CountedBodies, count=count)
    return count


class _CountedBodies:
    def __init__(self, app: ASGIApp, count: ByteCount) -> None:
        self._app, self._count = app, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return

        async def receive_counted() -> Message:
            return self._counted(await receive())

        async def send_counted(message: Message) -> None:
            await send(self._counted(message))

        await self._app(scope, receive_counted, send_counted)

    def _counted(self, message: Message) -> Message:
        self._count.add(len(message.get("body", b"")))
        return message
