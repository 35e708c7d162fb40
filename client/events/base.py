"""What every operation tells in, and how its result is taken out (side: owner)."""

from collections.abc import Callable, Iterable
from typing import Literal, TypeVar

from common.messages.base import Count, Message, Seconds


class Event(Message):
    """Base of all events; `type` names the concrete one on the wire."""


class Noted(Event):
    """Something a person should read."""

    type: Literal["noted"] = "noted"
    text: str
    warning: bool = False


class Explained(Event):
    """A refusal code in words."""

    type: Literal["explained"] = "explained"
    code: str
    mender: str
    mend: str


class Ended(Event):
    """Something of this party's own was cancelled, deleted or revoked, and the broker's log says so.

    `log_entry` is the number of the entry, whose inclusion was verified. After `leases_end` (Unix seconds) no enclave
    holds what is over, whatever its host keeps from it. `proof` is the file that shows it to others (`audit verify`).
    """

    type: Literal["ended"] = "ended"
    identifier: str
    state: str
    leases_end: Seconds | None = None
    log_entry: Count | None = None
    proof: str | None = None


E = TypeVar("E", bound=Event)


def outcome(events: Iterable[Event], kind: type[E], show: Callable[[Event], None] | None = None) -> E:
    """Run an operation to its end and return the last event of `kind`; `show` sees every event as it happens."""
    result: E | None = None
    for event in events:
        if show is not None:
            show(event)
        if isinstance(event, kind):
            result = event
    if result is None:
        raise RuntimeError(f"the operation ended without a {kind.__name__} event")
    return result
