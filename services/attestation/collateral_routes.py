"""Collateral over HTTP, and the thread that keeps it current (side: host).

GET /v1/collateral/TEE/FMSPC/CA   Collateral: for clients that verify a quote which carries none
"""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.concurrency import run_in_threadpool

from common.identifiers import Fmspc
from common.messages.collateral import CollateralName, PckCa
from common.messages.evidence import Collateral
from common.untrusted.collateral_service import CollateralService
from common.untrusted.http_description import describe
from common.untrusted.http_refusals import JSON
from services.attestation.strangers import Strangers


def collateral_router(service: CollateralService | None, strangers: Strangers) -> APIRouter:
    """The route; refreshes in the background while the application is served. Nothing without a service."""
    if service is None:
        return APIRouter()

    @asynccontextmanager
    async def refreshing(_: FastAPI) -> AsyncIterator[None]:
        stopped = threading.Event()
        thread = threading.Thread(target=service.run, args=(stopped,), name="collateral", daemon=True)
        thread.start()
        yield
        stopped.set()
        await run_in_threadpool(thread.join, 1.0)  # a fetch that lasts longer ends with the process

    router = APIRouter(lifespan=refreshing)

    @router.get(
        "/v1/collateral/{tee}/{fmspc}/{ca}",
        dependencies=[Depends(strangers.admit)],
        openapi_extra=describe(gives=Collateral),
    )
    def collateral(tee: Literal["sgx", "tdx"], fmspc: Fmspc, ca: PckCa) -> Response:
        found = service.get(CollateralName(tee=tee, fmspc=fmspc, ca=ca))
        return Response(found.encode(), media_type=JSON)

    return router
