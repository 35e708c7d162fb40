"""A route for what is asked thousands of times a second (side: host).

FastAPI resolves parameters, keeps stacks of what is to be closed, and looks at what a handler gives, for each request;
for handlers that read bytes and give bytes that is most of what they cost (docs/serving.md, Figures).
"""

from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send


class DirectRoute(APIRoute):
    """Its endpoint gets the request and the path's parameters as they stand there, by name, and gives a `Response`.

    Described, listed and refused like any other route; a parameter of a wrong form is the endpoint's to refuse.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.endpoint(request=Request(scope, receive), **scope["path_params"])
        await response(scope, receive, send)
