"""How many questions wait for a model, and how long the oldest does: what query workers are scaled by (side: host).

A model's questions stand in one stream for each of its places (streams); an answered one is deleted, so a stream's
length is what waits or is under way. Ages are by Redis's clock, which numbers the entries.

Metrics, by model:
  cloister_query_backlog                  questions that wait or are under way, in all places
  cloister_query_backlog_oldest_seconds   age of the oldest of them
  cloister_query_places                   live launches of the model

`python -m services.query_enclave.backlog --settings PATH` (a front's settings) prints them, and how many workers would
leave nobody waiting, for a scaler that has no metrics.
"""

import argparse
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.metrics_core import Metric
from redis import Redis

from common.identifiers import ModelId
from common.untrusted.metrics import MetricsPage, gauge, plain_gauge
from services.query_enclave.question_reader import connect
from services.query_enclave.settings import FrontSettings
from services.query_enclave.streams import MOST_PLACES, QUESTIONS, model_of, place_of, proof_of, questions_of

HOT_DEPTH: Final = 64
"""As many as one launch has under way (question_reader): what is beyond waits for it."""

HOT_SECONDS: Final = 1.0
"""Age of a question that waits too long."""

QUESTIONS_A_WORKER: Final = 64
"""What one worker's launch has under way without making anybody wait: the target of a scaler (`wanted_workers`)."""


@dataclass(frozen=True)
class Backlog:
    """Of one model, over its `places` that live."""

    depth: int
    oldest_seconds: float
    places: int = 0

    @property
    def is_hot(self) -> bool:
        """Whether another place would take questions that wait: each live one has more than it can have under way."""
        return self.depth >= HOT_DEPTH * max(1, self.places) or self.oldest_seconds >= HOT_SECONDS


class RedisLoad:
    """`Load` (sharing), as it stands in Redis. Raises `RedisError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def of_model(self, model_id: ModelId) -> Backlog:
        """In all its places."""
        found = _read(self._redis, [place_of(model_id, number) for number in range(MOST_PLACES)])
        depth, oldest = sum(one.depth for one in found), max(one.oldest_seconds for one in found)
        return Backlog(depth, oldest, sum(one.places for one in found))

    def of_place(self, place: str) -> Backlog:
        """There alone."""
        return _read(self._redis, [place])[0]


def backlogs(redis: Redis) -> dict[ModelId, Backlog]:
    """Of every model that has a stream. Raises `RedisError`."""
    names: Iterable[bytes] = redis.scan_iter(match=QUESTIONS + "*")
    models = {model_of(name.decode("ascii").removeprefix(QUESTIONS)) for name in names}
    load = RedisLoad(redis)
    return {model_id: load.of_model(model_id) for model_id in sorted(models)}


def wanted_workers(found: Mapping[ModelId, Backlog]) -> int:
    """How many query workers would leave nobody waiting: for each model a launch for what it can have under way.

    At least one. A model has at most `MOST_PLACES` launches; each worker has one of a model.
    """
    each = (min(MOST_PLACES, math.ceil(one.depth / QUESTIONS_A_WORKER)) for one in found.values())
    return max(1, *each, 1)


def backlog_metrics(redis: Redis) -> Iterator[Metric]:
    """Of every model that has a stream. Raises `RedisError`."""
    return metrics_of(backlogs(redis))


def metrics_of(found: Mapping[ModelId, Backlog]) -> Iterator[Metric]:
    """The metrics, by model."""
    for name, (told, value) in _METRICS.items():
        yield gauge(name, told, "model", {model_id: value(one) for model_id, one in found.items()})


_METRICS: Final[dict[str, tuple[str, Callable[[Backlog], float]]]] = {
    "cloister_query_backlog": ("Questions that wait for an answer or are under way.", lambda one: one.depth),
    "cloister_query_backlog_oldest_seconds": ("Age of the oldest of them.", lambda one: round(one.oldest_seconds, 3)),
    "cloister_query_places": ("Live launches.", lambda one: one.places),
}


def _read(redis: Redis, places: Sequence[str]) -> list[Backlog]:
    with redis.pipeline(transaction=False) as batch:
        for place in places:
            batch.get(proof_of(place))
            batch.xlen(questions_of(place))
            batch.xrange(questions_of(place), count=1)
        batch.time()
        *found, (seconds, micros) = batch.execute()
    now = seconds + micros / 1e6
    each = zip(found[::3], found[1::3], found[2::3], strict=True)
    return [Backlog(int(depth), _age(first, now), int(proof is not None)) for proof, depth, first in each]


def _age(entries: Sequence[Any], now: float) -> float:
    """Of the first entry, whose id begins with the milliseconds at which it came."""
    return max(0.0, now - int(bytes(entries[0][0]).split(b"-")[0]) / 1000) if entries else 0.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m services.query_enclave.backlog")
    parser.add_argument("--settings", type=Path, required=True)
    settings = FrontSettings.read(parser.parse_args().settings)
    found = backlogs(connect(settings.redis_url))
    wanted = plain_gauge("cloister_query_workers_wanted", "Workers that leave nobody waiting.", wanted_workers(found))
    page = MetricsPage({"backlog": lambda: (*metrics_of(found), wanted)})
    print(page.encode().decode(), end="")  # noqa: T201 - this is what it is for


if __name__ == "__main__":
    main()
