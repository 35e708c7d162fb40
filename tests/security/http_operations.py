"""The routes of an application as its OpenAPI document lists them (side: library)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from common.untrusted.http_refusals import JSON
from tests.fakes.http_services import HttpService

METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})


@dataclass(frozen=True)
class Operation:
    """One method of one path. `url` names things that are there; `content` is what a body may be, by media type."""

    method: str
    path: str
    url: str
    content: dict[str, Any]

    @property
    def takes_json(self) -> bool:
        """Whether its body is a message."""
        return JSON in self.content

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def operations_of(service: HttpService) -> Iterator[Operation]:
    """All of them."""
    for path, methods in service.app.openapi()["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            yield Operation(method.upper(), path, _url(service, path, operation), content)


def other_methods(service: HttpService) -> Iterator[tuple[str, str]]:
    """Every method and path that the document does not list."""
    listed = {(one.method, one.path): one.url for one in operations_of(service)}
    for path in {path for _, path in listed}:
        url = next(url for (_, of), url in listed.items() if of == path)
        yield from ((method, url) for method in sorted(METHODS) if (method, path) not in listed)


def _url(service: HttpService, path: str, operation: dict[str, Any]) -> str:
    def genuine(match: re.Match[str]) -> str:
        return service.known[match[1]][0]

    needed = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query" and one["required"]]
    query = "&".join(f"{name}={service.known[name][0]}" for name in needed)
    return re.sub(r"\{(\w+)\}", genuine, path) + (f"?{query}" if query else "")
