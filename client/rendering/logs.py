"""Events of the key broker's log as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator

from client import events as e
from client.log_words import entry_details, entry_summary, reason_details, reason_summary
from client.rendering.words import Line

LogTold = e.LogVerified | e.LogSaved | e.LogEntryTold | e.ReasonTold | e.ReasonsRead


def log_lines(event: LogTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.LogVerified():
            yield "ok", f"{event.head.size} leaves under the root that broker {event.broker[:16]}... signed", "green"
            for size in event.held_against:
                yield "ok", f"extends the head of size {size} that was seen before", "green"
            counted = f"; {event.refusals_counted} refusals are told together" if event.refusals_counted else ""
            told = f"{event.told} entries are told, {event.untold} are others'{counted}"
            yield "log", f"epoch {event.head.epoch}: {told}", ""
        case e.LogSaved():
            yield "saved", f"{event.path}  {event.bytes:,} bytes; verify it with `cloister audit verify`", ""
        case e.LogEntryTold():
            entry = event.entry
            style = {"refused": "red", "revoked": "yellow"}.get(entry.outcome, "")
            yield f"#{entry.number}", entry_summary(entry), style
            for line in entry_details(entry):
                yield "", line, ""
        case e.ReasonTold():
            yield f"#{event.reason.entry}", reason_summary(event.reason), "red"
            for line in reason_details(event.reason):
                yield "", line, ""
        case e.ReasonsRead():
            yield "reasons", f"{event.told} of {event.kept} that the key broker keeps for this reader", "bold"
            if event.dropped:
                yield "", f"{event.dropped} older ones made room", "yellow"
            if event.unkept:
                yield "", f"{event.unkept} more refusals were alike, or too many at once, and only counted", "yellow"
