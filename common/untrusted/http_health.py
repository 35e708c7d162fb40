"""`/healthz` and `/readyz` as routes of a FastAPI application (side: host)."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from common.untrusted.health import Readiness


def health_router(readiness: Readiness) -> APIRouter:
    """The two paths; the only ones that nobody signs."""
    router = APIRouter()

    @router.get("/healthz")
    def healthz() -> Response:
        return JSONResponse({"alive": True})

    @router.get("/readyz")
    def readyz() -> Response:
        status, body = readiness.report()
        return JSONResponse(body, status_code=status)

    return router
