"""What a service says of itself is made when somebody asks."""

from typing import Any

import pytest
from fastapi import APIRouter, Response

from common.messages.base import Message
from common.untrusted.http_description import Service, describe


class Word(Message):
    text: str


def test_schemas_are_made_for_the_document_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[type[Message]] = []
    make = Word.model_json_schema

    def noted(**given: Any) -> dict[str, Any]:
        made.append(Word)
        return make(**given)

    monkeypatch.setattr(Word, "model_json_schema", noted)
    service, router = Service("a service"), APIRouter()

    @router.post("/included", openapi_extra=describe(takes=Word))
    @service.post("/own", openapi_extra=describe(gives=Word))
    def word() -> Response:
        return Response()

    service.include_router(router)
    assert made == []
    paths = service.openapi()["paths"]
    assert made == [Word]
    taken = paths["/included"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    given = paths["/own"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert taken["properties"].keys() == given["properties"].keys() == {"text"}
