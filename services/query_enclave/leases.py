"""A worker's leases on places of models, and the proofs that it shows while it holds them (side: host).

Sessions live in one launch, so a place (streams) is one worker's at a time. The lease only keeps two honest workers
apart; a host that breaks it splits sessions and gains nothing.
"""

import logging
import threading
import time
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError

from common.event_log import log_event
from common.identifiers import ModelId
from services.query_enclave.streams import ASKED, ASKED_SECONDS, WORKERS, lease_of, proof_of

_log = logging.getLogger("query.worker")

LEASE_SECONDS: Final = 15
"""How long a place is empty when its worker's machine is gone; a worker of the same name takes it over at once."""

BEAT_SECONDS: Final = 3.0


class Leases:
    """`run` renews what `hold` took, on a thread of its own: placing a model takes longer than a lease lasts."""

    def __init__(self, redis: Redis, worker_name: str) -> None:
        self._redis, self._name = redis, worker_name
        self._lock = threading.Lock()
        self._held: dict[str, bytes | None] = {}
        self._stopped = threading.Event()

    def hold(self, place: str) -> bool:
        """Take the lease, unless another worker has it; whether it is ours. Raises `RedisError`."""
        with self._lock:
            if place not in self._held and self._renew(place):
                self._held[place] = None
                self._redis.delete(proof_of(place))  # a predecessor's launch is gone, its proof would mislead
            return place in self._held

    def publish(self, place: str, proof: bytes) -> None:
        """Let fronts show this proof for as long as the lease is ours. Raises `RedisError`."""
        with self._lock:
            if place in self._held:
                self._held[place] = proof
                self._redis.set(proof_of(place), proof, ex=LEASE_SECONDS)

    def withdraw(self, place: str) -> None:
        """The launch is gone: fronts stop to show its proof. Raises `RedisError`."""
        with self._lock:
            if place in self._held:
                self._held[place] = None
                self._redis.delete(proof_of(place))

    def release(self, place: str) -> None:
        """Give the lease up, if it is ours. Raises `RedisError`."""
        with self._lock:
            if place in self._held:
                del self._held[place]
                self._redis.delete(proof_of(place), lease_of(place))

    def asked(self) -> list[ModelId]:
        """Models that somebody asked a front for lately, the last one first. Raises `RedisError`."""
        self._redis.zremrangebyscore(ASKED, 0, time.time() - ASKED_SECONDS)
        names: Any = self._redis.zrevrange(ASKED, 0, -1)
        return [ModelId(name.decode("ascii")) for name in names]

    def beat(self) -> None:
        """Renew everything once; what another worker has taken meanwhile is ours no more. Raises `RedisError`."""
        with self._lock:
            self._redis.set(WORKERS + self._name, b"1", ex=LEASE_SECONDS)
            for place, proof in list(self._held.items()):
                if not self._renew(place):
                    del self._held[place]
                elif proof is not None:
                    self._redis.set(proof_of(place), proof, ex=LEASE_SECONDS)

    def run(self) -> None:
        """Beat until stopped, whatever Redis does."""
        while not self._stopped.is_set():
            try:
                self.beat()
            except RedisError:
                log_event(_log, "cache_unreachable", logging.WARNING)
            self._stopped.wait(BEAT_SECONDS)

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    def _renew(self, place: str) -> bool:
        key = lease_of(place)
        if self._redis.set(key, self._name, nx=True, ex=LEASE_SECONDS):
            return True
        if self._redis.get(key) != self._name.encode():
            return False
        return bool(self._redis.expire(key, LEASE_SECONDS))


def has_worker(redis: Redis) -> bool:
    """Whether any worker lives. Raises `RedisError`."""
    return next(iter(redis.scan_iter(match=WORKERS + "*")), None) is not None
