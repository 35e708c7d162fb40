"""HTTP rim of the attestation service (side: host): `python -m services.attestation.app --settings PATH`.

POST /v1/broker    encoded BrokerRequest -> encoded Signed(BrokerReply); 200 whenever the enclave answered: refusals
                   are inside and signed. Who asks is no question of HTTP: each document names and proves its party.
GET  /v1/release   the Signed release of this installation; its list of measured files: /v1/release/files
GET  /v1/log/...   the decision log (`log_routes`)
...                collateral for clients (`collateral_routes`), attestation results (`token_routes`)
/healthz /readyz /carried   ready once the enclave answers; that it may still be frozen, its witness's /readyz tells
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvicorn
from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

from common.errors import NotFoundError, UnavailableError
from common.event_log import configure_host_logging
from common.messages.attestation import BrokerRequest
from common.messages.measured_files import MeasuredFiles
from common.messages.signed import Signed
from common.untrusted.health import Readiness
from common.untrusted.http_bodies import read_body
from common.untrusted.http_description import Service, describe
from common.untrusted.http_health import count_bodies, health_router
from common.untrusted.http_refusals import JSON, OCTETS
from services.attestation.collateral_routes import collateral_router
from services.attestation.log_routes import log_router
from services.attestation.relay import BrokerRelay
from services.attestation.settings import AttestationSettings
from services.attestation.state_files import StateFiles
from services.attestation.token_routes import token_router

STATE_FOLDER: Final = "broker"

HTTP_THREADS: Final = 192
"""Requests that the broker answers late hold a thread each: more than those of its door, so that others get through."""


def build(settings: AttestationSettings, relay: BrokerRelay) -> Service:
    """The application in front of a relay, whose enclave lives as long as the application is served."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = HTTP_THREADS
        relay.start()
        yield
        await run_in_threadpool(relay.stop)

    app = Service("cloister attestation", lifespan)
    checks = {"sealed_state": lambda: relay.refused is None, "enclave": lambda: relay.ready}
    app.include_router(health_router(Readiness(checks), {"attestation": count_bodies(app)}))
    app.include_router(log_router(relay.ask, relay.log))
    app.include_router(collateral_router(relay.collateral))
    app.include_router(token_router(relay))

    @app.post("/v1/broker", openapi_extra=describe(takes=BrokerRequest, gives=Signed, media_type=OCTETS))
    async def broker(request: Request) -> Response:
        raw = await read_body(request)
        return Response(await run_in_threadpool(relay.ask, raw), media_type=OCTETS)

    @app.get("/v1/release", openapi_extra=describe(gives=Signed))
    def release() -> Response:
        return Response(_read_public(settings.release_file), media_type=JSON)

    @app.get("/v1/release/files", openapi_extra=describe(gives=MeasuredFiles))
    def release_files() -> Response:
        return Response(_read_public(settings.measured_files), media_type=JSON)

    return app


def _read_public(path: Path | None) -> bytes:
    if path is None:
        raise NotFoundError("not_found.path", expected="an installation that publishes it")
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UnavailableError("unavailable.service", expected="a release file") from cause


def main() -> None:
    """Serve until SIGTERM; the enclave ends with this process."""
    parser = argparse.ArgumentParser(prog="python -m services.attestation.app")
    parser.add_argument("--settings", type=Path, required=True)
    settings = AttestationSettings.read(parser.parse_args().settings)
    configure_host_logging("attestation")
    files = StateFiles(settings.state_directory / STATE_FOLDER)
    relay = BrokerRelay(settings.launcher, settings.start, files, settings.collateral())
    uvicorn.run(
        build(settings, relay),
        host=settings.listen_host,
        port=settings.listen_port,
        log_config=None,
        access_log=False,
        server_header=False,
    )


if __name__ == "__main__":
    main()
