"""What a relay makes of an enclave's events: a line of the log, and a count (side: host)."""

import logging
import sys

from common.errors import FormatError
from common.event_log import log_event
from common.messages.enclave_events import encode_event, parse_event
from common.untrusted.metrics import ENCLAVE_EVENTS

_log = logging.getLogger("relay")


def note_event(role: str, raw: bytes) -> None:
    """Print and count an event; what is none is named by its enclave's role alone, and not repeated."""
    try:
        event = parse_event(raw)
    except FormatError as refusal:
        log_event(_log, "enclave_event_refused", logging.WARNING, role=role, code=refusal.code)
        return
    ENCLAVE_EVENTS.labels(role, event.event).inc()
    sys.stderr.write(encode_event(event).decode() + "\n")
    sys.stderr.flush()
