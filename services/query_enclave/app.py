"""The query front: opaque bytes of one size in, opaque bytes of one size out (side: host).

`python -m services.query_enclave.app --settings PATH`. Every request is signed by an enrolled identity; the front
reads who asks which model when, and nothing of what is asked or answered.

    GET  /v1/models/{model_id}/proof                  QueryEnclaveProof of the live launch
    POST /v1/models/{model_id}/sessions               session open message -> sealed reply
    POST /v1/models/{model_id}/queries                query -> sealed answer
    POST /v1/models/{model_id}/batches                queries -> what became of each (common/messages/query_batch)
    POST /v1/models/{model_id}/submissions            query -> 202, QuerySubmitted
    GET  /v1/models/{model_id}/submissions/{query_id} sealed answer; 202 without a body as long as there is none
    POST /v1/request-keys                             OfferRequestKey -> RequestKeyAgreed

The requests of queries, batches and submissions may be signed with a request key, all others with an identity's alone.
Where a model has several launches a proof is of any of them; `?launch=` of a POST, the beginning of its signing key,
says whose session it is.
"""

import argparse
import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from common.bundle import MAX_ROW_BYTES
from common.errors import FormatError, Refusal, UnavailableError
from common.event_log import configure_host_logging
from common.identifiers import ModelId, PartyKey, QueryId
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.placement import QueryEnclaveProof
from common.messages.query import SESSION_OPEN_BYTES, SESSION_REPLY_BYTES
from common.messages.query_batch import QuerySubmitted, encode_answers, most_queries, split_queries
from common.messages.request_keys import REQUEST_KEYS_PATH, OfferRequestKey, RequestKeyAgreed
from common.untrusted.database import Database
from common.untrusted.health import Readiness
from common.untrusted.http_description import Service, describe
from common.untrusted.http_direct import add_direct_route
from common.untrusted.http_health import count_bodies, health_router
from common.untrusted.http_identity import PartyRequest, RequestGate
from common.untrusted.http_refusals import JSON, OCTETS, refusal_response
from common.untrusted.http_server import serve
from common.untrusted.job_board import JobBoard
from common.untrusted.metrics import NO_SOURCES, Source
from common.untrusted.registry import Registry
from common.untrusted.request_keys import RequestKeyRing
from services.query_enclave.admission import Admission
from services.query_enclave.backlog import backlog_metrics
from services.query_enclave.front_desk import FrontDesk
from services.query_enclave.leases import has_worker
from services.query_enclave.question_reader import connect
from services.query_enclave.settings import FrontSettings

RETRY_AFTER_SECONDS: Final = 1

REMEMBERED_SECONDS: Final = 60.0
"""How long an identity counts as enrolled without asking the registry again, so one that was withdrawn, too: who may
ask a model is the enclave's to say, by the grant."""

LaunchName = Annotated[str | None, Query(pattern=r"^[0-9a-f]{16}$")]

_LAUNCH_BYTES: Final = 16
"""The beginning of a launch's signing key, in hexadecimal (client/query_channel)."""

_LAUNCH_QUERY_BYTES: Final = len("launch=") + _LAUNCH_BYTES

_LARGEST_QUERY: Final = MAX_ROW_BYTES + (1 << 20)
"""Of any model; each takes and gives one size alone, which its proof states."""

_BATCH: Final = describe(takes=_LARGEST_QUERY, gives=_LARGEST_QUERY)
_OFFER: Final = describe(takes=OfferRequestKey, gives=RequestKeyAgreed)
_SUBMISSION: Final = describe(takes=_LARGEST_QUERY, gives=QuerySubmitted)
_SESSION: Final = describe(takes=SESSION_OPEN_BYTES, gives=SESSION_REPLY_BYTES)
_QUERY: Final = describe(takes=_LARGEST_QUERY, gives=_LARGEST_QUERY)


class QueryFront:
    """What the routes do. `now`: the clock by which request keys end, Unix seconds; the gate's."""

    def __init__(
        self,
        desk: FrontDesk,
        board: JobBoard,
        gate: RequestGate,
        admission: Admission | None = None,
        *,
        request_keys: RequestKeyRing | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._desk, self._board, self._gate, self._now = desk, board, gate, now
        self._admission = admission or Admission()
        self.request_keys = request_keys or RequestKeyRing()

    def agree(self, offered: PartyRequest) -> RequestKeyAgreed:
        """A request key with the party that has signed this offer with its identity's key."""
        return self.request_keys.agree(offered.party, OfferRequestKey.decode(offered.body), self._now())

    async def admit(self, request: Request) -> PartyRequest:
        """A request with a body of one message, by an identity's key or a request key."""
        return await self._gate.limited(MAX_MESSAGE_BYTES, request_keys=self.request_keys)(request)

    async def proof(self, model_id: ModelId) -> bytes:
        """The live launch's proof. Raises `NotFoundError` for no such model, `UnavailableError` for none placed."""
        try:
            return (await self._desk.proof(model_id)).encoded
        except UnavailableError:
            await run_in_threadpool(self._board.model, model_id)
            raise

    async def session(self, model_id: ModelId, request: Request, launch: str | None = None) -> bytes:
        """A sealed reply to a session open message."""
        async with self._admitted(request, SESSION_OPEN_BYTES, by_identity=True) as admitted:
            _require_size(admitted.body, SESSION_OPEN_BYTES)
            await self.proof(model_id)
            return await self._desk.ask(model_id, "session", admitted.body, launch)

    async def query(self, model_id: ModelId, request: Request, launch: str | None = None) -> bytes:
        """A sealed answer to a query of exactly the model's size."""
        size = await self._query_bytes(model_id, request)
        async with self._admitted(request, size) as admitted:
            _require_size(admitted.body, size)
            return await self._desk.ask(model_id, "query", admitted.body, launch)

    async def batch(self, model_id: ModelId, request: Request, launch: str | None = None) -> bytes:
        """What became of each of several queries."""
        size = await self._query_bytes(model_id, request)
        async with self._admitted(request, size * most_queries(size)) as admitted:
            queries = split_queries(admitted.body, size)
            with self._admission.take(admitted.party, queries=len(queries) - 1):
                asking = (self._desk.ask(model_id, "query", one, launch) for one in queries)
                answers = await asyncio.gather(*asking, return_exceptions=True)
        return encode_answers([_answer_or_refusal(one) for one in answers])

    async def submit(self, model_id: ModelId, request: Request, launch: str | None = None) -> QueryId:
        """The name of the answer to come."""
        size = await self._query_bytes(model_id, request)
        async with self._admitted(request, size) as admitted:
            _require_size(admitted.body, size)
            return await self._desk.submissions.submit(
                self._desk.place_of(model_id, launch), admitted.party, admitted.body
            )

    async def collect(self, party: PartyKey, query_id: QueryId) -> bytes | None:
        """The sealed answer, once there is one."""
        return await self._desk.submissions.collect(party, query_id)

    async def _query_bytes(self, model_id: ModelId, request: Request) -> int:
        """The model's one size of queries. Who asks is judged before it is said what is missing."""
        try:
            return (await self._desk.proof(model_id)).query_bytes
        except Refusal:
            async with self._admitted(request, MAX_MESSAGE_BYTES):
                await self.proof(model_id)
            raise

    @contextlib.asynccontextmanager
    async def _admitted(self, request: Request, size: int, *, by_identity: bool = False) -> AsyncIterator[PartyRequest]:
        """A request of at most so many bytes, while there is room for it; its body is read when there is.

        `by_identity`: no request key may stand for its sender's own.
        """
        request_keys = None if by_identity else self.request_keys
        with contextlib.ExitStack() as held:

            def take_on(party: PartyKey) -> None:
                held.enter_context(self._admission.take(party, queries=1, count=_stated_length(request, size)))

            yield await self._gate.limited(size, take_on, request_keys)(request)


def _launch_of(request: Request) -> str | None:
    """What follows `?launch=`; it names a place or none, and nothing is read by it."""
    query: bytes = request.scope["query_string"]
    if not query:
        return None
    _, found, name = query.partition(b"launch=")
    if found and len(query) == _LAUNCH_QUERY_BYTES and len(name) == _LAUNCH_BYTES and name.isalnum():
        return name.decode("ascii")  # as the SDK sends it: nothing to decode
    return request.query_params.get("launch")


def _stated_length(request: Request, most: int) -> int:
    """What a body takes, by its head; `most` where that says nothing."""
    stated = request.headers.get("content-length", "")
    return min(int(stated), most) if stated.isdecimal() and len(stated) < 16 else most


def _require_size(body: bytes, size: int) -> None:
    if len(body) != size:
        raise FormatError("format.query", expected=f"{size} bytes", seen=len(body))


def _answer_or_refusal(one: bytes | BaseException) -> bytes | Refusal:
    if isinstance(one, bytes | Refusal):
        return one
    raise one


def build(
    front: QueryFront,
    desk: FrontDesk,
    gate: RequestGate,
    readiness: Readiness,
    sources: Mapping[str, Source] = NO_SOURCES,
    *,
    metrics_token: str | None = None,
) -> Service:
    """The application."""

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await desk.start()
        yield
        await desk.stop()

    app = Service("cloister query", lifespan)
    _say_when_to_come_again(app)

    async def query(model_id: ModelId, request: Request) -> Response:
        return Response(await front.query(ModelId(model_id), request, _launch_of(request)), media_type=OCTETS)

    bodies = count_bodies(app)
    add_direct_route(app, "/v1/models/{model_id}/queries", query, method="POST", openapi_extra=_QUERY, carried=bodies)
    carried = {"query": bodies, "redis": desk.carried}
    app.include_router(health_router(readiness, carried, sources, token=metrics_token))

    @app.get("/v1/models/{model_id}/proof", openapi_extra=describe(gives=QueryEnclaveProof))
    async def proof(model_id: ModelId, _admitted: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        return Response(await front.proof(model_id), media_type=JSON)

    @app.post("/v1/models/{model_id}/sessions", openapi_extra=_SESSION)
    async def session(model_id: ModelId, request: Request, launch: LaunchName = None) -> Response:
        return Response(await front.session(model_id, request, launch), media_type=OCTETS)

    @app.post("/v1/models/{model_id}/batches", openapi_extra=_BATCH)
    async def batch(model_id: ModelId, request: Request, launch: LaunchName = None) -> Response:
        return Response(await front.batch(model_id, request, launch), media_type=OCTETS)

    @app.post("/v1/models/{model_id}/submissions", openapi_extra=_SUBMISSION, status_code=202)
    async def submit(model_id: ModelId, request: Request, launch: LaunchName = None) -> Response:
        submitted = QuerySubmitted(query_id=await front.submit(model_id, request, launch))
        return Response(submitted.encode(), 202, media_type=JSON)

    @app.get("/v1/models/{model_id}/submissions/{query_id}", openapi_extra=describe(gives=_LARGEST_QUERY))
    async def collect(
        model_id: ModelId,  # noqa: ARG001 - the answer's name is unique among all models'
        query_id: QueryId,
        admitted: Annotated[PartyRequest, Depends(front.admit)],
    ) -> Response:
        answer = await front.collect(admitted.party, query_id)
        if answer is None:
            return Response(status_code=202, headers={"retry-after": str(RETRY_AFTER_SECONDS)})
        return Response(answer, media_type=OCTETS)

    @app.post(REQUEST_KEYS_PATH, openapi_extra=_OFFER)
    async def request_keys(admitted: Annotated[PartyRequest, Depends(gate.admit)]) -> Response:
        return Response(front.agree(admitted).encode(), media_type=JSON)

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
    desk = FrontDesk.connect(settings.redis_url, settings.slots())
    gate = RequestGate(Registry(database), remembered_seconds=REMEMBERED_SECONDS)
    readiness = Readiness(
        {"redis": lambda: bool(redis.ping()), "registry": database.is_alive, "query worker": lambda: has_worker(redis)}
    )
    front = QueryFront(desk, JobBoard(database), gate)
    sources = {"backlog": functools.partial(backlog_metrics, redis)}
    app = build(front, desk, gate, readiness, sources, metrics_token=settings.metrics_token)
    serve(app, settings.listen_host, settings.listen_port)


if __name__ == "__main__":
    main()
