"""The key broker's decision log as an owner, provider or auditor reads it (side: verifier).

`fetch` asks the broker for a signed head over a fresh nonce, gets all leaves from its host, and keeps both in a file.
`verify` needs that file and what this party has pinned, and no network. `show` tells only what it has verified just
before. What is verified, and in which order: `common/transparency`. A log is held against the newest head that this
party has seen in any command, the newest whose log it has verified whole, and any that it is given.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from client.broker import BrokerLink
from client.context import Party
from client.ending_proof import EndingProof, verify_ending
from client.events import Ended, Event, LogEntryTold, LogSaved, LogVerified, Noted
from client.http_client import ServiceClient
from client.witness_memory import WitnessMemory
from common.errors import AuthenticityError, FormatError
from common.identifiers import DatasetId, JobId, ModelId
from common.json_text import read_json
from common.messages.base import MAX_MESSAGE_BYTES
from common.messages.decision_log import MAX_BUNDLE_BYTES, AuditBundle, LogEntry, LogItem, LogPage
from common.messages.log_heads import HeadSigned, LogHead, SignHead
from common.transparency import VerifiedLog, open_tree_head, verify_log

ENTRIES_PATH: Final = "/v1/log/entries"


@dataclass(frozen=True)
class About:
    """Which entries to show: those about one thing, or all if none is named."""

    dataset: DatasetId | None = None
    job: JobId | None = None
    model: ModelId | None = None

    def chosen(self, entries: Sequence[LogEntry]) -> Iterator[LogEntry]:
        """The entries about it. A job is also touched by what happens to its data sets' terms and to its bundle."""
        touched = [entry.subjects for entry in entries if self.job is not None and entry.subjects.job == self.job]
        datasets = {name for subjects in touched for name in subjects.datasets}
        bundles = {subjects.bundle for subjects in touched} - {None}
        for entry in entries:
            of_thing = entry.subjects.job is None and entry.decision in ("update-policy", "revoke")
            if self._names(entry) or (
                of_thing and (datasets.intersection(entry.subjects.datasets) or entry.subjects.bundle in bundles)
            ):
                yield entry

    def _names(self, entry: LogEntry) -> bool:
        subjects = entry.subjects
        if self.dataset is not None:
            return self.dataset in subjects.datasets
        if self.model is not None:
            return subjects.model == self.model
        if self.job is not None:
            order = subjects.document if entry.decision == "accept-order" else None
            return subjects.job == self.job or (order is not None and JobId.of(order) == self.job)
        return True


def fetch(party: Party, output: Path) -> Iterator[Event]:
    """Get the whole log, verify it, keep it in `output`. Ends with `LogSaved`."""
    seen = _seen(party)
    bundle = _fetched(party)
    yield _verified(party, bundle, seen)[1]
    encoded = bundle.encode()
    _write(output, encoded)
    yield LogSaved(path=str(output), bytes=len(encoded))


def verify(party: Party, source: Path, others: Sequence[Path] = ()) -> Iterator[Event]:
    """Verify a stored log, offline, or a proof that something was ended (`ending_proof`).

    `others`: a witness's memory, or logs that were fetched before or by others.

    Raises `AuthenticityError`, `FormatError`, or `FreshnessError` (freshness.state) for a log that was rewound, forked,
    or is older than what this party has seen.
    """
    if source.stat().st_size <= MAX_MESSAGE_BYTES and _type_of(source.read_bytes()) == "ending-proof":
        yield _ended(party, source, others)
        return
    seen = [*_seen(party), *(_head_in(party, path) for path in others)]
    yield _verified(party, _read(source), seen)[1]


def show(party: Party, about: About, source: Path | None = None) -> Iterator[Event]:
    """The entries about a thing, of a stored log or of one that is fetched now; the log is verified first."""
    log, event = read_log(party, source)
    yield event
    chosen = list(about.chosen(log.entries))
    for entry in chosen:
        yield LogEntryTold(entry=entry)
    if not chosen:
        yield Noted(text="no entry that you may read is about it")


def read_log(party: Party, source: Path | None = None) -> tuple[VerifiedLog, LogVerified]:
    """A stored log, or one that is fetched now, verified; raises as `verify` does."""
    seen = _seen(party)
    return _verified(party, _fetched(party) if source is None else _read(source), seen)


def _ended(party: Party, source: Path, others: Sequence[Path]) -> Ended:
    if others:
        raise FormatError("format.message", expected="a fetched log to hold heads against", seen="ending-proof")
    proof = EndingProof.decode(source.read_bytes())
    proven = verify_ending(proof, party.trust.broker.signing_public)
    return Ended(
        identifier=proven.identifier,
        state="revoked" if proven.decided == "revoke" else "retired",
        leases_end=proven.leases_end,
        log_entry=proven.log_entry,
        proof=str(source),
    )


def _fetched(party: Party) -> AuditBundle:
    signed = BrokerLink(party).ask(SignHead(), HeadSigned).head
    size = open_tree_head(signed, party.trust.broker).head.size
    service, items = ServiceClient(party.endpoints.attestation, party.identity.signing_key), list[LogItem]()
    while len(items) < size:
        page = LogPage.decode(service.get(f"{ENTRIES_PATH}?first={len(items)}"))
        if page.first != len(items) or not page.items:
            raise AuthenticityError("authenticity.log", expected=f"{size} leaves", seen=len(items))
        items.extend(page.items)
    return AuditBundle(head=signed, items=tuple(items[:size]))


def _verified(party: Party, bundle: AuditBundle, seen: Sequence[LogHead]) -> tuple[VerifiedLog, LogVerified]:
    log = verify_log(bundle, party.trust.broker, seen, party.identity.signing_key.party)
    party.remember_audit(log.head.head)
    return log, LogVerified(
        broker=log.head.broker,
        head=log.head.head,
        time=log.head.time,
        told=len(log.entries),
        untold=log.untold,
        refusals_counted=log.head.refusals_counted,
        held_against=tuple(sorted({head.size for head in seen})),
    )


def _seen(party: Party) -> list[LogHead]:
    return [head for head in (party.log_head, party.audited_head) if head is not None]


def _read(path: Path) -> AuditBundle:
    return AuditBundle.decode(path.read_bytes(), limit=MAX_BUNDLE_BYTES)


def _head_in(party: Party, path: Path) -> LogHead:
    """The head that a witness remembers, or the signed one of another bundle; both of the pinned broker."""
    raw, broker = path.read_bytes(), party.trust.broker
    if _type_of(raw) == "audit-bundle":
        return open_tree_head(AuditBundle.decode(raw, limit=MAX_BUNDLE_BYTES).head, broker).head
    memory = WitnessMemory.decode(raw)
    if memory.broker != broker.digest:
        raise AuthenticityError("authenticity.log", expected=f"a head of broker {broker.digest}", seen=memory.broker)
    return memory.head


def _type_of(raw: bytes) -> object:
    try:
        read = read_json(raw)
    except ValueError:
        raise FormatError("format.message", expected="a witness's memory or a fetched log") from None
    return read.get("type") if isinstance(read, dict) else None


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
    beside.replace(path)
