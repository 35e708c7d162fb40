"""How many bytes a host process has carried since it started: `GET /carried` (side: host).

The answer names the host service that saw them: `{"ingest": 81234, "object_store": 65792}`. Counted is what the
protocol carries, where it is moved: bodies of HTTP requests and answers, both ways and without those of the health
paths; leaves that are written to the object store; frames that RabbitMQ took from a job's parameter server or gave to
it; questions and answers in Redis. That is ciphertext, and the signed and public documents around it. Headers, events,
tasks and protocols below are not counted.

Totals tell how busy an installation is, which is the operator's own affair: only this machine is answered.
"""

import contextlib
import ipaddress
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final


class ByteCount:
    """Bytes that one part of a process has carried; any thread adds to it."""

    def __init__(self) -> None:
        self._lock, self._total = threading.Lock(), 0

    def add(self, count: int) -> None:
        """So many more."""
        with self._lock:
            self._total += count

    @property
    def total(self) -> int:
        """All of them."""
        return self._total


Carried = Mapping[str, ByteCount]
"""By the host service that saw the bytes."""

NOTHING: Final[Carried] = MappingProxyType({})
"""What a process carries that moves no content."""


def report_carried(carried: Carried) -> dict[str, int]:
    """The body of `/carried`."""
    return {service: count.total for service, count in carried.items()}


def is_this_machine(address: str | None) -> bool:
    """Whether a request comes from here: whoever else asks has no business with totals."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address or "").is_loopback
    return False
