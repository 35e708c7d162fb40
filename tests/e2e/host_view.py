"""All that a host could tell two jobs apart by, as counts, sizes and names (side: host).

Left out are times, random identifiers and ciphertext. A tick that a busy machine took too late is left out whole, by
every member for itself (ARCHITECTURE, decision 11); what a tick carries, and what follows from the ticks that were
taken, is compared to the last frame, read and byte.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from common.exchange.frames import FrameClass, FrameHeader
from common.identifiers import JobId
from common.messages.objects import ModelManifest
from common.messages.order import TrainingOrder
from common.messages.signed import Signed
from common.untrusted.database import Database
from common.untrusted.tables import job_events, jobs, models, reports, slots
from tests.e2e.message_tap import Message

Sender = tuple[FrameClass, int]
"""Direction and slot."""

_TOLD_BY_LOGS = ("event", "role", "slot", "attempt", "state", "code", "ticks", "reason", "exit_status", "kind")


_COME_LATER = ("model_opened", "model_placed", "model_not_placed", "stream_opened")
"""A query worker opens models one by one after their jobs."""


@dataclass(frozen=True)
class Traffic:
    """Frames of one job: for each sender and tick the sizes of its frames, in order."""

    frames: dict[Sender, dict[int, tuple[int, ...]]]

    @classmethod
    def of(cls, messages: Iterable[Message], job_id: JobId) -> "Traffic":
        """From what RabbitMQ was given."""
        frames: dict[Sender, dict[int, tuple[int, ...]]] = {}
        for message in messages:
            if message.exchange == "cloister.frames" and message.key.endswith(f"/{job_id}"):
                header = FrameHeader.parse(message.body)
                sizes = frames.setdefault((header.frame_class, header.sender), {})
                sizes[header.tick] = (*sizes.get(header.tick, ()), len(message.body))
        return cls(frames)


@dataclass(frozen=True)
class Books:
    """What the registry, the queues, the object store and the logs hold of one job."""

    state: str
    code: str | None
    slots: tuple[tuple[str, int, str, int], ...]
    events: tuple[tuple[str, str], ...]
    report_sizes: tuple[int, ...]
    manifest_size: int
    manifest: dict[str, Any]
    model_sizes: tuple[int, ...]
    tasks: Counter[tuple[str, int]]
    logged: Counter[tuple[str, str]]


@dataclass(frozen=True)
class HostPlaces:
    """Where the host keeps its books."""

    state: Path

    @property
    def database(self) -> Database:
        """The registry."""
        return Database(f"sqlite:///{self.state / 'registry' / 'registry.sqlite'}")

    def books(self, job_id: JobId, messages: Iterable[Message]) -> Books:
        """Everything about one job. Its own identifiers are blanked."""
        with self.database.reading() as connection:
            job = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).one()
            manifest = self._manifest(connection, job_id)
            root = None if manifest is None else ModelManifest.decode(manifest.payload).object.root
            return Books(
                job.state,
                job.code,
                tuple(
                    (row.role, row.slot, row.state, row.claims)
                    for row in connection.execute(select(slots).where(slots.c.job_id == job_id).order_by(slots.c.role))
                ),
                tuple(
                    (row.kind, _blanked(row.fields, job_id))
                    for row in connection.execute(
                        select(job_events).where(job_events.c.job_id == job_id).order_by(job_events.c.number)
                    )
                ),
                tuple(
                    len(row.sealed)
                    for row in connection.execute(
                        select(reports).where(reports.c.job_id == job_id).order_by(reports.c.sequence)
                    )
                ),
                0 if manifest is None else len(manifest.encode()),
                {} if manifest is None else _public_fields(manifest, job_id),
                () if root is None else self.leaf_sizes(root),
                self._tasks(job_id, messages),
                self._logged(job_id),
            )

    def object_directory(self, root: str) -> Path:
        """Where an object's leaves lie."""
        return self.state / "objects" / "objects" / root[:2] / root

    def leaf_sizes(self, root: str) -> tuple[int, ...]:
        """Sizes of an object's leaves."""
        return tuple(path.stat().st_size for path in sorted(self.object_directory(root).glob("leaf-*")))

    @staticmethod
    def _manifest(connection: Connection, job_id: JobId) -> Signed | None:
        row = connection.execute(select(models).where(models.c.job_id == job_id)).first()
        return None if row is None else Signed.decode(bytes(row.manifest))

    @staticmethod
    def _tasks(job_id: JobId, messages: Iterable[Message]) -> Counter[tuple[str, int]]:
        names = (job_id.encode(), job_id.replace("job_", "model_").encode())
        return Counter(
            (message.key, len(message.body))
            for message in messages
            if message.exchange == "" and any(name in message.body for name in names)
        )

    def _logged(self, job_id: JobId) -> Counter[tuple[str, str]]:
        number = job_id.removeprefix("job_")
        return Counter(
            (path.name, json.dumps({name: event.get(name) for name in _TOLD_BY_LOGS}))
            for path in (self.state / "logs").iterdir()
            for line in path.read_text(errors="replace").splitlines()
            if number in line
            for event in [json.loads(line)]
            if event["event"] not in _COME_LATER
        )


def _blanked(text: str, job_id: JobId) -> str:
    return text.replace(job_id.removeprefix("job_"), "...")


def _public_fields(manifest: Signed, job_id: JobId) -> dict[str, Any]:
    """The manifest without digests, names and the host's own time: those are random."""
    fields = json.loads(_blanked(manifest.payload.decode(), job_id))
    random = ("order", "datasets", "data_roots", "bundle", "bundle_root", "weights", "created", "object")
    return {name: value for name, value in fields.items() if name not in random}


def require_scheduled(traffic: Traffic, order: TrainingOrder, *, late_ticks: int) -> None:
    """Every member's every tick carries the order's frames and no other, from the first tick to the last."""
    schedule = order.schedule
    members = {(FrameClass.UPLINK, slot) for slot in range(order.trainers)} | {(FrameClass.DOWNLINK, 0)}
    assert traffic.frames.keys() == members
    for sender, ticks in traffic.frames.items():
        assert set(ticks.values()) == {(schedule.frame_bytes,) * schedule.frames_per_tick}, sender
        assert list(ticks) == sorted(ticks), "no tick comes after a later one"
        assert max(ticks) == schedule.total_ticks - 1
        assert schedule.total_ticks - len(ticks) <= late_ticks, f"{sender} left out too many ticks to compare"
