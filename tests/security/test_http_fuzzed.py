"""Every route of every service that its OpenAPI document lists, under requests that fit the document and that do not.

The document is the application's own (`Service.openapi`), so a new route is fuzzed without a word here. Whatever is
sent, signed or not: the answer is the documented one, or a refusal that says its public code and how to mend it, and
nothing else; and it comes soon. The draws are the same in each run, unless CLOISTER_FUZZ_EXAMPLES asks for more.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from common.errors import refusal_of
from common.messages.service import RefusalBody
from common.refusals import REFUSALS
from common.untrusted.http_refusals import refusal_response
from deploy.embedded.stack import EmbeddedStack
from tests.fakes import http_services
from tests.fakes.http_services import BASE, HttpService
from tests.parsers.spoilt import spoilt

EXAMPLES: Final = int(os.environ.get("CLOISTER_FUZZ_EXAMPLES", "4"))
"""Requests of each route whose body is drawn from the document, which takes most of the time."""

OF_GENUINE: Final = 3 * EXAMPLES
"""Of each route with bodies that were sent once."""

BOUNDED: Final = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 4,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),  # to find a smaller failure would take minutes
    suppress_health_check=list(HealthCheck),
)
SECONDS: Final = 20.0
"""No request of ours takes so long, on however busy a machine."""

BROKER: Final = "/v1/broker"
"""Asks strangers one thing, so it reads what they send, up to less than it reads of others."""

_DESCRIBE: Final = b'"describe-broker"'

pytestmark = pytest.mark.timeout(600)  # drawing bodies from the document of all messages takes CPU time

DOCUMENTED: Final = [status_code_conformance, content_type_conformance, response_schema_conformance]

schemathesis.openapi.format("binary", st.binary(max_size=2000))

Send = Callable[..., httpx.Response]


@pytest.fixture(scope="module", params=http_services.SERVICES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, broker_stack: EmbeddedStack
) -> Iterator[HttpService]:
    with http_services.SERVICES[request.param](tmp_path_factory.mktemp(request.param), broker_stack) as one:
        yield one


def operations(service: HttpService) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(service.app.openapi())
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        yield found.ok()


def request_of(case: Any) -> requests.PreparedRequest:
    return requests.Request(**case.as_transport_kwargs(base_url=BASE)).prepare()


def sent(case: Any, send: Send) -> httpx.Response:
    made = request_of(case)
    body = made.body.encode() if isinstance(made.body, str) else made.body or b""
    assert isinstance(body, bytes)
    kind = {"content-type": made.headers["content-type"]} if "content-type" in made.headers else {}
    return send(made.method, str(made.url).removeprefix(BASE), body, kind)


def require_documented(case: Any, answer: httpx.Response) -> None:
    """What the document says, and no word more in a refusal than its code's own."""
    case.validate_response(answer, checks=DOCUMENTED)
    assert answer.elapsed.total_seconds() < SECONDS
    if answer.is_success or case.operation.path == "/readyz":
        return
    told = RefusalBody.decode(answer.content)
    assert told.code in REFUSALS
    own = refusal_response(refusal_of(told.code))
    assert answer.content == own.body
    assert answer.status_code in {own.status_code, 405}


def named(service: HttpService, case: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """The case about things that are there, now and then."""
    for values in (case.path_parameters, case.query):
        for name in (values or {}).keys() & service.known.keys():
            if draw(st.integers(0, 3)):
                values[name] = draw(st.sampled_from(service.known[name]))
    return case


def without_body(operation: Any) -> st.SearchStrategy[Any]:
    """Cases of an operation whose body another strategy draws: to draw one from the document takes most of the time."""
    kinds = [one.media_type for one in operation.body]
    own = {"body": b"", "media_type": kinds[0]} if kinds else {}
    return operation.as_strategy(**own)  # type: ignore[no-any-return]


def bodies(service: HttpService) -> st.SearchStrategy[bytes]:
    """Genuine ones, whole and spoilt."""
    return st.one_of(st.sampled_from(service.bodies), spoilt(service.bodies))


def fuzz_each(service: HttpService, judge: Callable[[Any, st.DataObject], None], examples: int = EXAMPLES) -> None:
    """Draw for every route of the document."""
    for operation in operations(service):
        _fuzz(functools.partial(judge, operation), settings(BOUNDED, max_examples=examples))


def _fuzz(judge: Callable[[st.DataObject], None], bounded: settings) -> None:
    @bounded
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        judge(data)

    run()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_what_the_document_allows_and_what_it_does_not(service: HttpService, mode: GenerationMode) -> None:
    def judge(operation: Any, data: st.DataObject) -> None:
        if mode.is_negative and not any((operation.body, operation.path_parameters, operation.query)):
            return  # without parameters and body nothing contradicts the document
        case = named(service, data.draw(operation.as_strategy(generation_mode=mode)), data.draw)
        require_documented(case, sent(case, service.send))

    fuzz_each(service, judge)


def test_genuine_bodies_whole_and_spoilt(service: HttpService) -> None:
    def judge(operation: Any, data: st.DataObject) -> None:
        case = named(service, data.draw(without_body(operation)), data.draw)
        body = data.draw(bodies(service))
        made = request_of(case)
        require_documented(case, service.send(str(made.method), str(made.url).removeprefix(BASE), body))

    fuzz_each(service, judge, OF_GENUINE)


def test_without_a_signature(service: HttpService) -> None:
    def judge(operation: Any, data: st.DataObject) -> None:
        case = named(service, data.draw(without_body(operation)), data.draw)
        header, body = data.draw(st.sampled_from(("date", "signature", "signature-input"))), data.draw(bodies(service))
        made = request_of(case)
        url = str(made.url).removeprefix(BASE)
        answer = service.send_unsigned(str(made.method), url, body, {header: "cloister=:AAAA:"})
        require_documented(case, answer)
        if service.wants_signature(operation.path):
            open_to_all = {413, 200} if _DESCRIBE in body else {413}
            assert answer.status_code in {403, *(open_to_all if operation.path == BROKER else ())}

    fuzz_each(service, judge, OF_GENUINE)
