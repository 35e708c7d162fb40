"""The query front: opaque bytes of one size in, opaque bytes of one size out (side: host).

`python -m services.query_enclave.app --settings PATH`. Every request is signed by an enrolled identity; the front
reads who asks which model when, and nothing of what is asked or answered.

    GET  /v1/models/{model_id}/proof      QueryEnclaveProof of the live launch
    POST /v1/models/{model_id}/sessions   session open message -> sealed reply
    POST /v1/models/{model_id}/queries    query -> sealed answer
"""

import argparse
import contextlib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Annotated, Final, cast

from fastapi import Depends, FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from common.bundle import MAX_ROW_BYTES
from common.errors import FormatError, Refusal, UnavailableError
from common.event_log import configure_host_logging
from common.identifiers import ModelId
from common.messages.attestation import QueryEnclaveProof
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.query import SESSION_OPEN_BYTES, SESSION_REPLY_BYTES
from common.untrusted.database import Database
from common.untrusted.health import LOOPBACK, Readiness
from common.untrusted.http_description import Service, describe
from common.untrusted.http_health import count_bodies, health_router
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON, OCTETS, refusal_response
from common.untrusted.http_server import serve
from common.untrusted.job_board import JobBoard
from common.untrusted.registry import Registry
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.leases import has_worker
from services.query_enclave.question_reader import connect
from services.query_enclave.settings import FrontSettings

RETRY_AFTER_SECONDS: Final = 1

_LARGEST_QUERY: Final = MAX_ROW_BYTES + (1 << 20)
"""Of any model; each takes and gives one size alone, which its proof states."""

_SESSION: Final = describe(takes=SESSION_OPEN_BYTES, gives=SESSION_REPLY_BYTES)
_QUERY: Final = describe(takes=_LARGEST_QUERY, gives=_LARGEST_QUERY)


class QueryFront:
    """What the three routes do."""

    def __init__(self, desk: FrontDesk, board: JobBoard, gate: RequestGate) -> None:
        self._desk, self._board, self._gate = desk, board, gate

    async def proof(self, model_id: ModelId) -> bytes:
        """The live launch's proof. Raises `NotFoundError` for no such model, `UnavailableError` for none placed."""
        try:
            return (await self._desk.proof(model_id)).encoded
        except UnavailableError:
            await run_in_threadpool(self._board.model, model_id)
            raise

    async def session(self, model_id: ModelId, request: Request) -> bytes:
        """A sealed reply to a session open message."""
        body = await self._body(request, SESSION_OPEN_BYTES)
        await self.proof(model_id)
        return await self._desk.ask(model_id, "session", body)

    async def query(self, model_id: ModelId, request: Request) -> bytes:
        """A sealed answer to a query of exactly the model's size."""
        try:
            size = (await self._desk.proof(model_id)).query_bytes
        except Refusal:
            await self._body(request, MAX_MESSAGE_BYTES)  # who asks is judged before it is said what is missing
            await self.proof(model_id)
            raise
        return await self._desk.ask(model_id, "query", await self._body(request, size))

    async def _body(self, request: Request, size: int) -> bytes:
        admit = self._gate.limited(size)
        admitted = await cast("Awaitable[PartyRequest]", admit(request))
        if size != MAX_MESSAGE_BYTES and len(admitted.body) != size:
            raise FormatError("format.query", expected=f"{size} bytes", seen=len(admitted.body))
        return admitted.body


def build(front: QueryFront, desk: FrontDesk, gate: RequestGate, readiness: Readiness) -> Service:
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await desk.start()
        yield
        await desk.stop()

    app = Service("cloister query", lifespan)
    _say_when_to_come_again(app)
    app.include_router(health_router(readiness, {"query": count_bodies(app), "redis": desk.carried}))

    @app.get("/v1/models/{model_id}/proof", openapi_extra=describe(gives=QueryEnclaveProof))
    async def proof(model_id: ModelId, _admitted: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        return Response(await front.proof(model_id), media_type=JSON)

    @app.post("/v1/models/{model_id}/sessions", openapi_extra=_SESSION)
    async def session(model_id: ModelId, request: Request) -> Response:
        return Response(await front.session(model_id, request), media_type=OCTETS)

    @app.post("/v1/models/{model_id}/queries", openapi_extra=_QUERY)
    async def query(model_id: ModelId, request: Request) -> Response:
        return Response(await front.query(model_id, request), media_type=OCTETS)

    return app


def _say_when_to_come_again(app: FastAPI) -> None:
    @app.exception_handler(UnavailableError)
    async def unavailable(_request: Request, refusal: UnavailableError) -> Response:
        answer = refusal_response(refusal)
        answer.headers["retry-after"] = str(RETRY_AFTER_SECONDS)
        return answer


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m services.query_enclave.app")
    parser.add_argument("--settings", type=Path, required=True)
    settings = FrontSettings.read(parser.parse_args().settings)
    configure_host_logging("query")
    database, redis = Database(settings.database_url), connect(settings.redis_url)
    desk, gate = FrontDesk.connect(settings.redis_url), RequestGate(Registry(database))
    readiness = Readiness(
        {"redis": lambda: bool(redis.ping()), "registry": database.is_alive, "query worker": lambda: has_worker(redis)}
    )
    front = QueryFront(desk, JobBoard(database), gate)
    serve(build(front, desk, gate, readiness), LOOPBACK, settings.listen_port)


if __name__ == "__main__":
    main()
