"""A route for what is asked thousands of times a second (side: host).

FastAPI resolves parameters, keeps stacks of what is to be closed, and looks at what a handler gives, for each request;
for handlers that read bytes and give bytes that is most of what they cost (docs/serving.md, Figures). A direct route is
described and listed like any other, and answers before the router and what is in front of it are entered.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from common.errors import Refusal
from common.untrusted.carried import ByteCount

Endpoint = Callable[..., Awaitable[Response]]


def add_direct_route(
    app: FastAPI, path: str, endpoint: Endpoint, *, method: str, openapi_extra: Mapping[str, Any], carried: ByteCount
) -> None:
    """Answer `method` at `path` by `endpoint`, which gets the `request` and the path's parameters as they stand there,
    by name, and gives a `Response` or raises a `Refusal`. Bodies both ways count to `carried`.

    A parameter of a wrong form is the endpoint's to refuse. Middleware that was added before is passed by.
    """
    app.router.add_api_route(path, endpoint, methods=[method], openapi_extra=dict(openapi_extra))
    route = app.router.routes[-1]
    if not isinstance(route, APIRoute):
        raise TypeError("a route is added last")
    app.add_middleware(_DirectAnswers, service=app, route=route, carried=carried)


class _DirectAnswers:
    """An application before another: requests of one route are answered here, all others there."""

    def __init__(self, app: ASGIApp, service: FastAPI, route: APIRoute, carried: ByteCount) -> None:
        self._others, self._service, self._carried = app, service, carried
        self._match, self._methods, self._endpoint = route.path_regex.match, route.methods or set(), route.endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_its_own = scope["type"] == "http" and scope["method"] in self._methods
        match = self._match(scope["path"]) if is_its_own else None
        if match is None:
            await self._others(scope, receive, send)
            return

        async def receive_counted() -> Message:
            message = await receive()
            self._carried.add(len(message.get("body", b"")))
            return message

        request = Request(scope, receive_counted)
        try:
            response = await self._endpoint(request=request, **match.groupdict())
        except Refusal as refusal:
            response = await self._refused(request, refusal)
        self._carried.add(len(response.body))
        await response(scope, receive, send)

    async def _refused(self, request: Request, refusal: Refusal) -> Response:
        """As the application answers this kind of refusal elsewhere."""
        handlers: Mapping[Any, Any] = self._service.exception_handlers
        handler = next(handlers[kind] for kind in type(refusal).__mro__ if kind in handlers)
        answer: Response = await handler(request, refusal)
        return answer
