"""Is a service ready, and if not: what does it wait for? (side: host)

A probe asks once, within `TIMEOUT_SECONDS`, and returns the names of what is missing: none means ready.
"""

import http.client
import json
import logging
import socket
from collections.abc import Callable
from typing import Final

TIMEOUT_SECONDS: Final = 3.0

Probe = Callable[[], tuple[str, ...]]

_MAX_ANSWER_BYTES: Final = 64 << 10


def epmd_answers(port: int) -> Probe:
    """Ready when epmd answers NAMES_REQ with its own port number (Erlang distribution protocol, erlang.org/doc)."""

    def probe() -> tuple[str, ...]:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as connection:
                connection.sendall(b"\x00\x01n")
                return () if connection.recv(4) == port.to_bytes(4, "big") else ("its port",)
        except OSError:
            return ("its port",)

    return probe


def http_ready(port: int) -> Probe:
    """Ready when `GET /readyz` answers 200 with `{"ready": true}`; else what its `waiting_for` names."""

    def probe() -> tuple[str, ...]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/readyz")
            answer = json.loads(connection.getresponse().read(_MAX_ANSWER_BYTES))
            waiting_for = tuple(str(name) for name in answer.get("waiting_for", ()))
            return () if answer.get("ready") is True else waiting_for or ("its /readyz",)
        except (OSError, http.client.HTTPException, ValueError, AttributeError, TypeError):
            return ("its /readyz",)
        finally:
            connection.close()

    return probe


def amqp_login(url: str) -> Probe:
    """Ready when a login to RabbitMQ succeeds: an open port alone comes seconds before the users are there."""

    def probe() -> tuple[str, ...]:
        import pika

        from common.untrusted.amqp_address import pika_parameters

        logging.getLogger("pika").setLevel(logging.CRITICAL)
        parameters = pika_parameters(url)
        parameters.socket_timeout = parameters.stack_timeout = TIMEOUT_SECONDS
        parameters.blocked_connection_timeout = TIMEOUT_SECONDS
        parameters.connection_attempts = 1
        try:
            pika.BlockingConnection(parameters).close()
        except Exception:  # pika's are many: of a port that is open and mute, one beside its own AMQPError
            return ("an AMQP login",)
        return ()

    return probe


def redis_ping(url: str) -> Probe:
    """Ready when Redis answers an authenticated PING (it refuses while it loads its file)."""

    def probe() -> tuple[str, ...]:
        import redis

        try:
            with redis.Redis.from_url(
                url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
            ) as client:
                client.ping()
        except (redis.RedisError, OSError):
            return ("a Redis PING",)
        return ()

    return probe
