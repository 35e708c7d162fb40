"""What a provider has published, and the end of it (side: owner: the provider's machine).

Listed is what the key broker's log says, verified as by `cloister audit`: a host can hide none of it. Names and
versions are this directory's own, because nobody else can read a bundle.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from client.audit import read_log
from client.broker import BrokerLink
from client.context import Party
from client.events import Event, VersionListed
from client.revoking import retire as retire_at_broker
from common.identifiers import BundleId
from common.messages.decision_log import LogEntry
from common.messages.objects import BundlePublication


def versions(party: Party, source: Path | None = None) -> Iterator[Event]:
    """This provider's bundles, oldest first: `LogVerified`, then a `VersionListed` for each.

    `source`: a log that was fetched before. Raises what `audit.read_log` raises.
    """
    log, event = read_log(party, source)
    yield event
    accepted = [one for one in log.entries if one.outcome != "refused" and one.subjects.bundle is not None]
    for entry in accepted:
        if entry.decision == "register-bundle" and entry.subjects.bundle is not None:
            about = [one for one in accepted if one.subjects.bundle == entry.subjects.bundle]
            if about[0] is entry:  # what stayed behind at a handover is registered once more
                yield _listed(party, entry.subjects.bundle, about)


def retire(party: Party, bundle_id: BundleId) -> Iterator[Event]:
    """No new order may name this bundle any more; what was ordered goes on, and models are asked as before.

    Ends with `Ended`. Raises the broker's refusal, `AuthenticityError` where its log does not say so.
    """
    link = BrokerLink(party)
    yield link.verify_to_end()
    yield retire_at_broker(party, link, bundle_id).proven(bundle_id, "retired")


def _listed(party: Party, bundle_id: BundleId, entries: Sequence[LogEntry]) -> VersionListed:
    label, publication = party.label(bundle_id), party.document("publications", bundle_id)
    root = None if publication is None else BundlePublication.decode(publication.payload).object.root
    jobs = {one.subjects.job for one in entries if one.decision == "accept-order"}
    over = {one.subjects.job for one in entries if one.decision in {"complete-job", "revoke"}}
    state = _state(entries)
    return VersionListed(
        bundle_id=bundle_id,
        name=None if label is None else label.name,
        bundle_version=None if label is None else label.bundle_version,
        root=root if label is None else label.root,
        published=entries[0].time,
        jobs=len(jobs),
        finished=len(jobs if state == "revoked" else jobs & over),
        state=state,
    )


def _state(entries: Sequence[LogEntry]) -> Literal["in force", "retired", "revoked"]:
    if any(one.decision == "revoke" and one.subjects.job is None for one in entries):
        return "revoked"
    return "retired" if any(one.decision == "retire-bundle" for one in entries) else "in force"
