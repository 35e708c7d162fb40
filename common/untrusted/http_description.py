"""What an HTTP service says of itself in OpenAPI: each route's bodies, answers and refusals (side: host).

Handlers take and give exact bytes, so their types say nothing; a route names its messages with `describe`. The document
is not served. Whoever wants it calls `Service.openapi`, and only then are schemas made, which takes longer than a
service may take to start. Tests fuzz every route that it lists, so that a route which is not described is not found to
be sound.
"""

import copy
import functools
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Response
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema
from starlette.routing import BaseRoute
from starlette.types import Lifespan

from common import __version__
from common.messages.base import Message
from common.messages.service import RefusalBody
from common.untrusted.http_refusals import JSON, OCTETS, answer_refusals

Content = type[Message] | Mapping[str, Any] | int
"""A message, another JSON schema, or so many bytes at most."""

_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": RefusalBody, "description": "Refused: why, and who mends it"},
    503: {"model": RefusalBody, "description": "A part that this needs is down, frozen or full: later"},
}
_NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""Else FastAPI looks for a listener at each request, and the environment may name one."""

_DIGIT: Final = "[A-Za-z0-9_-]"
_TAILS: Final = ("", f"{_DIGIT}[AQgw]==", f"{_DIGIT}{{2}}[AEIMQUYcgkosw048]=")
"""What follows the groups of four digits, by the number of bytes that are left."""

_COMPONENTS: Final = "#/components/schemas/{model}"
_LATER: Final = "described"


class Service(FastAPI):
    """A FastAPI application with our refusals; it serves no documents about itself, and its answers are bytes."""

    def __init__(self, title: str, lifespan: Lifespan["Service"] | None = None) -> None:
        super().__init__(
            title=title,
            version=__version__,
            lifespan=lifespan,
            docs_url=None,
            redoc_url=None,
            openapi_url=None,
            default_response_class=Response,
            responses=_REFUSED,
            telemetry=_NO_TELEMETRY,
        )
        answer_refusals(self)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; schemas that the descriptions of routes brought stand among its components."""
        if self.openapi_schema is None:
            _make_schemas(self.routes)
            document = super().openapi()
            _lift_definitions(document, document.setdefault("components", {}).setdefault("schemas", {}))
            self.openapi_schema = document
        return self.openapi_schema


def describe(
    *, takes: Content | None = None, gives: Content | None = None, media_type: str | None = None, optional: bool = False
) -> dict[str, Any]:
    """`openapi_extra` of a route of a `Service`. `media_type`: of an answer that is neither JSON nor plain bytes."""
    return {_LATER: functools.partial(_described, takes, gives, media_type, optional)}


def _make_schemas(routes: Iterable[BaseRoute]) -> None:
    """In place: FastAPI keeps an included router's routes below a route of its own."""
    for route in routes:
        extra = route.openapi_extra if isinstance(route, APIRoute) else None
        if extra and _LATER in extra:
            extra.update(extra.pop(_LATER)())
        included = getattr(route, "original_router", None)
        if isinstance(included, APIRouter):
            _make_schemas(included.routes)


def _described(takes: Content | None, gives: Content | None, media_type: str | None, optional: bool) -> dict[str, Any]:
    described: dict[str, Any] = {}
    if takes is not None:
        described["requestBody"] = {"required": not optional, "content": _content(takes, _media_type(takes))}
    if gives is not None:
        described["responses"] = {"200": {"content": _content(gives, media_type or _media_type(gives))}}
    return described


def _media_type(content: Content) -> str:
    return OCTETS if isinstance(content, int) else JSON


def _content(content: Content, media_type: str) -> dict[str, Any]:
    if isinstance(content, int):
        return {media_type: {"schema": {"type": "string", "format": "binary", "maxLength": content}}}
    if isinstance(content, Mapping):
        return {media_type: {"schema": dict(content)}}
    return {media_type: {"schema": copy.deepcopy(_schema_of(content))}}


@functools.cache
def _schema_of(message: type[Message]) -> dict[str, Any]:
    return message.model_json_schema(ref_template=_COMPONENTS, schema_generator=_Schema)


class _Schema(GenerateJsonSchema):
    """Bytes are base64url with padding and without loose bits; their bounds are of the bytes."""

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        low, high = schema.get("min_length") or 0, schema.get("max_length")
        described: JsonSchemaValue = {"type": "string", "contentEncoding": "base64url"}
        if low == high:
            return described | {"pattern": f"^({_DIGIT}{{4}}){{{low // 3}}}{_TAILS[low % 3]}$"}
        bounded = {} if high is None else {"maxLength": -(-high // 3) * 4}
        return described | bounded | {"pattern": f"^({_DIGIT}{{4}}){{{low // 3},}}({_TAILS[1]}|{_TAILS[2]})?$"}


def _lift_definitions(node: Any, schemas: dict[str, Any]) -> None:
    """Move every `$defs` below `node` to `schemas`, where the references look for them."""
    if isinstance(node, dict):
        for name, schema in node.pop("$defs", {}).items():
            _lift_definitions(schema, schemas)
            schemas[name] = schema
        for value in list(node.values()):
            _lift_definitions(value, schemas)
    elif isinstance(node, list):
        for value in node:
            _lift_definitions(value, schemas)
