"""Events of sealed data and code as lines for a person: a mark, a text, a style (side: owner)."""

from collections.abc import Iterator
from datetime import UTC, datetime

from client import events as e
from client.rendering.words import Line

ObjectTold = e.Sealed | e.DatasetRegistered | e.BundleRegistered | e.VersionListed | e.PolicySigned


def object_lines(event: ObjectTold) -> Iterator[Line]:
    """The lines of one event."""
    match event:
        case e.Sealed():
            yield "sealed", f"{event.chunks} chunks, {event.ciphertext_bytes:,} bytes, root {event.root}", ""
            yield "", f"in {event.directory}; the key stays in the identity directory", ""
        case e.DatasetRegistered():
            yield "data set", f"{event.dataset_id}  policy {event.policy[:16]}...", ""
        case e.BundleRegistered():
            size = f"state class {event.state_class:,}"
            yield "bundle", f"{event.bundle_id}  root {event.root}  {size}  sandbox {event.sandbox}", ""
        case e.VersionListed():
            day = datetime.fromtimestamp(event.published, UTC).date()
            called = "(published elsewhere)" if event.name is None else f"{event.name} {event.bundle_version}"
            jobs = f"{event.jobs} jobs, {event.finished} of them over"
            style = "" if event.state == "in force" else "yellow"
            yield event.state, f"{event.bundle_id}  {called}  published {day}  {jobs}", style
        case e.PolicySigned():
            thing = event.dataset_id or event.bundle_id
            yield "policy", f"version {event.policy_version} of {thing}: {event.digest}", ""
