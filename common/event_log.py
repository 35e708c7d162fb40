"""Structured events: constant names, allow-listed fields, identifiers instead of objects (side: library).

Hosts write one JSON object a line to stderr; enclaves send the same objects through their door (common/door). A field
that is not in `ALLOWED_FIELDS` is a programming error and raises: nothing is filtered silently.
"""

import json
import logging
import sys
import time
from typing import Final

ALLOWED_FIELDS: Final = frozenset(
    {
        "service",
        "role",
        "job_id",
        "slot",
        "attempt",
        "dataset_id",
        "bundle_id",
        "model_id",
        "upload_id",
        "object_id",
        "session_id",
        "query_id",
        "grant_id",
        "party",
        "code",
        "mr_enclave",
        "platform",
        "trust_level",
        "tick",
        "ticks",
        "round",
        "rounds",
        "frames",
        "bytes",
        "chunks",
        "count",
        "state",
        "status",
        "port",
        "pid",
        "signal",
        "exit_status",
        "method",
        "path",
        "seconds",
        "epoch",
        "log_size",
        "waiting_for",
        "queue",
        "reason",
        "shown",
        "kind",
    }
)
"""Fields that may leave a process in a log. Adding one is a review: could its value depend on anybody's secret?

`shown` is what the key broker's reply says in the clear of a machine that it refused.
"""

_OWN: Final = "cloister_event"
"""Marks a record as made by `log_event`: a library's text may look like an event."""

Value = str | int | float | bool | None


def encode_event(event: str, fields: dict[str, Value]) -> bytes:
    """One event as a JSON line. Raises `RuntimeError` for a field that is not allow-listed."""
    foreign = fields.keys() - ALLOWED_FIELDS
    if foreign:
        raise RuntimeError(f"log fields {sorted(foreign)} are not in ALLOWED_FIELDS")
    return json.dumps({"event": event, **fields}, separators=(",", ":")).encode()


def log_event(log: logging.Logger, event: str, level: int = logging.INFO, **fields: Value) -> None:
    """Log one event of a host process."""
    log.log(level, "%s", encode_event(event, fields).decode(), extra={_OWN: True})


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        own = getattr(record, _OWN, False)
        body = record.getMessage() if own else json.dumps({"event": "library_message", "kind": record.name})
        head = {"time": round(time.time(), 3), "level": record.levelname.lower(), "log": record.name}
        return json.dumps(head)[:-1] + "," + body[1:]


def configure_host_logging(service: str) -> None:
    """Send this process's events to stderr as JSON lines; texts of libraries are reduced to their logger's name.

    A library's own text may quote a message, a header or a body, so only the fact that it spoke is kept.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for noisy in ("amqp", "asyncio", "celery", "httpcore", "httpx", "kombu", "pika", "sqlalchemy", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    log_event(logging.getLogger(service), "service_started", service=service)
