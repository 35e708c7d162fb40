"""How many questions wait for models (side: host)."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from redis import Redis

from common.identifiers import ModelId
from common.untrusted.metrics import plain_gauge
from services.query_enclave.streams import ASKED, questions_of

_MOST_MODELS: Final = 1000
"""Looked at, of those that were asked for lately."""


def backlog(redis: Redis) -> int:
    """Questions without an answer, of all models that somebody asked a front for lately. Raises `RedisError`."""
    asked: Any = redis.zrevrange(ASKED, 0, _MOST_MODELS - 1)
    return sum(int(redis.xlen(questions_of(ModelId(name.decode("ascii"))))) for name in asked)


def backlog_metrics(redis: Redis) -> Iterator[Metric]:
    """The same, of all fronts and workers at this Redis together."""
    yield plain_gauge("cloister_query_backlog", "Questions that wait for an answer, of all models.", backlog(redis))
