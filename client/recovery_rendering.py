"""Events of recovery as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator

from client import recovery_events as r

RecoveryTold = r.CardKept | r.PackageShown | r.ShareGiven | r.BrokerRetired | r.DatasetRecovered
Line = tuple[str, str, str]


def recovery_lines(event: RecoveryTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case r.CardKept():
            yield "holder", event.party + ("" if event.path is None else f": {event.path}"), "bold"
        case r.PackageShown():
            yield "package", f"{event.dataset_id}, {event.digest}", "bold"
            yield "broker", f"{event.broker}, log size {event.head.size}, epoch {event.head.epoch}", ""
            yield "policy", f"version {event.policy_version}: {event.needed} of these holders", ""
            yield from (("holder", one, "") for one in event.holders)
        case r.ShareGiven():
            yield "share", f"of {event.dataset_id}: {event.path}", "bold"
            yield "for", f"broker {event.successor}, epoch {event.epoch}, until it restarts", ""
        case r.BrokerRetired():
            yield "retired", f"broker {event.broker} at log size {event.head.size}: {event.path}", "bold"
            yield "successor", event.successor, ""
        case r.DatasetRecovered():
            yield "recovered", f"{event.dataset_id}, from broker {event.predecessor}", "bold green"
            yield "", "orders and grants are to be signed anew, for this broker", "dim"
