"""A direct route answers, refuses and is described like any other; nothing of FastAPI's stands between."""

from fastapi import Request, Response
from fastapi.testclient import TestClient

from common.errors import UnavailableError
from common.identifiers import ModelId
from common.untrusted.carried import ByteCount
from common.untrusted.http_description import Service, describe
from common.untrusted.http_direct import add_direct_route
from common.untrusted.http_health import count_bodies
from common.untrusted.http_refusals import OCTETS, refusal_response

MODEL = "model_" + "0" * 32
PATH = "/v1/models/{model_id}/queries"


def service(carried: ByteCount | None = None, app: Service | None = None) -> Service:
    app = app or Service("direct")

    async def echo(model_id: ModelId, request: Request) -> Response:
        body = await request.body()
        if body == b"full":
            raise UnavailableError("unavailable.full")
        if body == b"broken":
            raise RuntimeError("secret text")
        return Response(ModelId(model_id).encode() + body, media_type=OCTETS)

    add_direct_route(
        app,
        PATH,
        echo,
        method="POST",
        openapi_extra=describe(takes=100, gives=200),
        carried=carried or count_bodies(app),
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


def test_a_handler_for_a_kind_of_refusal_answers_it_here_too() -> None:
    app = service()

    @app.exception_handler(UnavailableError)
    async def later(_request: Request, refusal: UnavailableError) -> Response:
        answer = refusal_response(refusal)
        answer.headers["retry-after"] = "7"
        return answer

    answer = TestClient(app).post(f"/v1/models/{MODEL}/queries", content=b"full")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable.full", "7")


def test_what_is_unforeseen_says_nothing() -> None:
    answer = TestClient(service(), raise_server_exceptions=False).post(f"/v1/models/{MODEL}/queries", content=b"broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "unavailable.service")
    assert "secret" not in answer.text


def test_its_bodies_count_once_beside_those_of_others() -> None:
    app = Service("direct")
    carried = count_bodies(app)
    answers = TestClient(service(carried, app))
    answers.post(f"/v1/models/{MODEL}/queries", content=b" asked")
    assert carried.total == len(b" asked") + len(MODEL + " asked")
    refused = answers.post("/elsewhere")
    assert carried.total == len(b" asked") + len(MODEL + " asked") + len(refused.content)
