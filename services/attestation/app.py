"""HTTP rim of the attestation service (side: host): `python -m services.attestation.app --settings PATH`.

POST /v1/broker    the key broker (`broker_routes`)
GET  /v1/release   the Signed release of the broker that answers; its list of measured files: /v1/release/files
GET  /v1/release/next   the release whose broker waits for an older build's to hand over
GET  /v1/log/...   the decision log (`log_routes`)
...                collateral for clients (`collateral_routes`), attestation results (`token_routes`)
Who may ask: `callers`, and `strangers` what is open to all.
/v1/recovery/...   data sets of a broker that is gone (`recovery_routes`)
/healthz /readyz /carried /metrics   ready once the enclave answers; that it is frozen, its witness's /readyz tells;
                            `notes`: collateral that ends soon, because no refresh succeeds
"""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from anyio import to_thread
from fastapi import Depends, FastAPI, Response
from fastapi.concurrency import run_in_threadpool

from common.errors import NotFoundError, UnavailableError
from common.event_log import configure_host_logging
from common.messages.measured_files import MeasuredFiles
from common.messages.signed import Signed
from common.untrusted.database import Database
from common.untrusted.health import Readiness
from common.untrusted.http_description import Service, describe
from common.untrusted.http_health import count_bodies, health_router
from common.untrusted.http_identity import RequestGate
from common.untrusted.http_refusals import JSON
from common.untrusted.http_server import serve
from common.untrusted.registry import Registry
from services.attestation.broker_routes import add_broker_route
from services.attestation.collateral_metrics import CollateralMetrics
from services.attestation.collateral_routes import collateral_router
from services.attestation.log_routes import add_next_head_route, log_router
from services.attestation.recovery_routes import recovery_router
from services.attestation.relay import MAX_CARRIED, BrokerRelay
from services.attestation.settings import AttestationSettings
from services.attestation.state_files import StateFiles
from services.attestation.token_routes import token_router

STATE_FOLDER: Final = "broker"

REMEMBERED_SECONDS: Final = 60.0
"""How long an identity counts as enrolled without asking the registry again, so one that was withdrawn, too: the broker
knows by itself whose word counts."""


def build(settings: AttestationSettings, relay: BrokerRelay) -> Service:
    """The application in front of a relay, whose enclave lives as long as the application is served."""
    database = Database(settings.database_url)
    callers = settings.callers(Registry(database))
    gate = RequestGate(callers, callers.charge, remembered_seconds=REMEMBERED_SECONDS)
    strangers = settings.strangers(gate)
    open_to_all = [Depends(strangers.admit)]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = MAX_CARRIED
        relay.start()
        yield
        await run_in_threadpool(relay.stop)
        database.close()

    app = Service("cloister attestation", lifespan)
    bodies = count_bodies(app)
    add_broker_route(app, bodies, relay.carry, gate, callers, strangers)
    add_next_head_route(app, bodies, relay.carry, relay.log, gate, callers)
    checks = {"registry": database.is_alive, "sealed_state": relay.require_not_refused, "enclave": lambda: relay.ready}
    notes = dict if relay.collateral is None else relay.collateral.ending
    app.include_router(
        health_router(
            Readiness(checks, notes=notes),
            {"attestation": bodies},
            {} if relay.collateral is None else {"collateral": CollateralMetrics(relay.collateral)},
            token=settings.metrics_token,
        )
    )
    app.include_router(log_router(relay.ask, relay.log, gate, strangers))
    app.include_router(collateral_router(relay.collateral, strangers))
    app.include_router(token_router(relay, gate, strangers))
    app.include_router(recovery_router(relay, settings.recover_from, strangers))

    @app.get("/v1/release", dependencies=open_to_all, openapi_extra=describe(gives=Signed))
    def release() -> Response:
        return Response(_read_public(relay.older_release or settings.release_file), media_type=JSON)

    @app.get("/v1/release/next", dependencies=open_to_all, openapi_extra=describe(gives=Signed))
    def next_release() -> Response:
        return Response(_read_public(relay.older_release and settings.release_file), media_type=JSON)

    @app.get("/v1/release/files", dependencies=open_to_all, openapi_extra=describe(gives=MeasuredFiles))
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
    directory, collateral = settings.state_directory / STATE_FOLDER, settings.collateral()
    handover = settings.handover(directory, collateral)
    relay = BrokerRelay(
        settings.launcher,
        settings.start,
        StateFiles(directory),
        collateral,
        handover,
        release_file=settings.release_file,
    )
    serve(build(settings, relay), settings.listen_host, settings.listen_port)


if __name__ == "__main__":
    main()
