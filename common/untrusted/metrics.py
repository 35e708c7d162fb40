"""What host processes count and measure, in one table, and how Prometheus reads it: `GET /metrics` (side: host).

Everything here is the host's own to see: times and numbers of requests, frames and events that it carries anyway,
public codes and states, identifiers of no party. Enclave code has no metrics. What it has to tell leaves as a typed
event (common/messages/enclave_events), and events are counted here. No frame is counted as real or dummy: nobody on
this side can tell, which is the point (ARCHITECTURE, decision 10).

Counters and histograms live as long as the process. What stands in a database, a cache or a directory is read when
somebody asks: a `Source` yields it then, and one that fails leaves its own metrics out and nothing else.
Totals tell how busy an installation is, which is the operator's own affair: only this machine is answered, and who
shows the token of the settings (`metrics_token`).
"""

import hmac
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from common.event_log import log_event
from common.untrusted.carried import is_this_machine

_log = logging.getLogger("metrics")

MEDIA_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4

REGISTRY: Final = CollectorRegistry(auto_describe=False)
disable_created_metrics()  # type: ignore[no-untyped-call]
ProcessCollector(registry=REGISTRY)

_ATTESTATION_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_ANSWER_SECONDS: Final = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)

REFUSALS: Final = Counter("cloister_refusals", "Refusals, by public code.", ("code",), registry=REGISTRY)
ATTESTATION_SECONDS: Final = Histogram(
    "cloister_attestation_seconds",
    "From a launch's evidence to the key broker's answer, by request and outcome (granted, refused).",
    ("request", "outcome"),
    buckets=_ATTESTATION_SECONDS,
    registry=REGISTRY,
)
ANSWER_SECONDS: Final = Histogram(
    "cloister_answer_seconds",
    "From a question at the front to its sealed answer, by kind (session, query).",
    ("kind",),
    buckets=_ANSWER_SECONDS,
    registry=REGISTRY,
)
FRAMES: Final = Counter(
    "cloister_frames", "Frames of all jobs at the parameter server, by direction (up, down).", ("direction",),
    registry=REGISTRY,
)  # fmt: skip
TICKS: Final = Counter(
    "cloister_ticks",
    "Ticks of all jobs at the parameter server as its host saw them, by moment (on_time, late, missed).",
    ("moment",),
    registry=REGISTRY,
)
ENCLAVE_EVENTS: Final = Counter(
    "cloister_enclave_events", "Events that enclaves told, by role and event.", ("role", "event"), registry=REGISTRY
)
SLOT_ENDS: Final = Counter(
    "cloister_slot_ends", "Slots that a worker gave back, by role and end (done, crashed, withdrawn).", ("role", "end"),
    registry=REGISTRY,
)  # fmt: skip

Source = Callable[[], Iterable[Metric]]
"""Reads what stands somewhere, now. It may raise whatever reading raises."""

NO_SOURCES: Final[Mapping[str, Source]] = MappingProxyType({})

_BEARER: Final = "bearer "


def gauge(name: str, told: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """One gauge with one label."""
    family = GaugeMetricFamily(name, told, labels=(label,))
    for value, number in values.items():
        family.add_metric((value,), number)
    return family


def plain_gauge(name: str, told: str, value: float) -> GaugeMetricFamily:
    """One gauge without a label."""
    return GaugeMetricFamily(name, told, value=value)


class MetricsPage:
    """The body of `/metrics`, and who may read it."""

    def __init__(self, sources: Mapping[str, Source] = NO_SOURCES, *, token: str | None = None) -> None:
        self._sources, self._token = dict(sources), token

    def is_for(self, address: str | None, authorization: str | None) -> bool:
        """Whether a request from there, with this header, is answered."""
        if is_this_machine(address):
            return True
        shown = authorization or ""
        if self._token is None or not shown.lower().startswith(_BEARER):
            return False
        return hmac.compare_digest(shown[len(_BEARER) :].encode(), self._token.encode())

    def encode(self) -> bytes:
        """All of it, in Prometheus's text format 0.0.4."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """As a collector of prometheus_client."""
        yield from REGISTRY.collect()
        heard = dict.fromkeys(self._sources, 0.0)
        for name, source in self._sources.items():
            try:
                metrics = list(source())
            except Exception as error:  # a database that is away, for one: the rest is still told
                log_event(_log, "metrics_unread", logging.WARNING, kind=name, reason=type(error).__name__)
                continue
            heard[name] = 1.0
            yield from metrics
        yield gauge("cloister_source_up", "Whether what these metrics are read from could be read.", "source", heard)
