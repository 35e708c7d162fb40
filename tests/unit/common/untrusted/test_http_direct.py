"""A direct route answers, refuses and is described like any other; nothing of FastAPI's stands between."""

from fastapi import Request, Response
from fastapi.testclient import TestClient

from common.identifiers import ModelId
from common.untrusted.http_description import Service, describe
from common.untrusted.http_direct import DirectRoute
from common.untrusted.http_refusals import OCTETS

MODEL = "model_" + "0" * 32
PATH = "/v1/models/{model_id}/queries"


def service() -> Service:
    app = Service("direct")

    async def echo(model_id: ModelId, request: Request) -> Response:
        return Response(ModelId(model_id).encode() + await request.body(), media_type=OCTETS)

    app.router.add_api_route(
        PATH, echo, methods=["POST"], openapi_extra=describe(takes=100, gives=200), route_class_override=DirectRoute
    )
    return app


def test_its_endpoint_gets_request_and_path() -> None:
    answer = TestClient(service()).post(f"/v1/models/{MODEL}/queries", content=b" asked")
    assert (answer.status_code, answer.content) == (200, MODEL.encode() + b" asked")
    assert answer.headers["content-type"] == OCTETS


def test_what_the_endpoint_refuses_and_other_methods_are_refusals_as_ever() -> None:
    client = TestClient(service())
    answer = client.post("/v1/models/job_1/queries")
    assert (answer.status_code, answer.json()["code"]) == (400, "format.identifier")
    assert client.get(f"/v1/models/{MODEL}/queries").status_code == 405
    assert client.post("/v1/models/a/b/queries").json()["code"] == "not_found.path"


def test_it_is_described_with_its_parameter_and_bodies() -> None:
    operation = service().openapi()["paths"][PATH]["post"]
    assert [one["name"] for one in operation["parameters"]] == ["model_id"]
    assert operation["requestBody"]["content"][OCTETS]["schema"]["maxLength"] == 100
    assert operation["responses"]["200"]["content"][OCTETS]["schema"]["maxLength"] == 200
