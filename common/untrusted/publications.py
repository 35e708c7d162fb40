"""Registered data sets and bundles: the signed manifests, and what the key broker answered (side: host)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Table, delete, insert, select

from common.errors import NotFoundError
from common.identifiers import BundleId, DatasetId, Digest, PartyKey
from common.messages.objects import BundlePublication, DatasetManifest
from common.messages.signed import Signed
from common.untrusted.database import Database
from common.untrusted.tables import bundles, datasets


@dataclass(frozen=True)
class Dataset:
    """A registered data set; `signed` is its manifest as the owner signed it."""

    dataset_id: DatasetId
    party: PartyKey
    signed: Signed
    registered_at: float

    @property
    def manifest(self) -> DatasetManifest:
        """The manifest."""
        return DatasetManifest.decode(self.signed.payload)


@dataclass(frozen=True)
class Bundle:
    """A published bundle; `signed` is its publication as the provider signed it."""

    bundle_id: BundleId
    party: PartyKey
    signed: Signed
    registered_at: float

    @property
    def publication(self) -> BundlePublication:
        """The publication."""
        return BundlePublication.decode(self.signed.payload)


class Publications:
    """Data sets and bundles by the identifier that their signed bytes give them."""

    def __init__(self, database: Database, *, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now

    def add_dataset(self, dataset_id: DatasetId, party: PartyKey, signed: Signed, reply: bytes) -> None:
        """Keep a data set with the broker's encoded reply. Idempotent."""
        values = {"dataset_id": dataset_id, "manifest": signed.encode()}
        self._add(datasets, values, party, reply)

    def add_bundle(self, bundle_id: BundleId, party: PartyKey, signed: Signed, reply: bytes) -> None:
        """Keep a bundle with the broker's encoded reply. Idempotent."""
        values = {"bundle_id": bundle_id, "publication": signed.encode()}
        self._add(bundles, values, party, reply)

    def datasets_of(self, party: PartyKey) -> list[Dataset]:
        """A party's data sets, oldest first."""
        return [_dataset(row) for row in self._rows(datasets, datasets.c.party == party)]

    def dataset(self, dataset_id: DatasetId, party: PartyKey) -> Dataset:
        """A party's data set. Raises `NotFoundError` (not_found.dataset)."""
        rows = self._rows(datasets, datasets.c.dataset_id == dataset_id, datasets.c.party == party)
        if not rows:
            raise NotFoundError("not_found.dataset")
        return _dataset(rows[0])

    def bundles_of(self, party: PartyKey) -> list[Bundle]:
        """A party's bundles, oldest first."""
        return [_bundle(row) for row in self._rows(bundles, bundles.c.party == party)]

    def bundle(self, bundle_id: BundleId, party: PartyKey | None = None) -> Bundle:
        """A bundle, of this party if one is given. Raises `NotFoundError` (not_found.bundle)."""
        owned = () if party is None else (bundles.c.party == party,)
        rows = self._rows(bundles, bundles.c.bundle_id == bundle_id, *owned)
        if not rows:
            raise NotFoundError("not_found.bundle")
        return _bundle(rows[0])

    def remove_dataset(self, dataset_id: DatasetId) -> None:
        """Forget it."""
        with self._database.writing() as connection:
            connection.execute(delete(datasets).where(datasets.c.dataset_id == dataset_id))

    def remove_bundle(self, bundle_id: BundleId) -> None:
        """Forget it."""
        with self._database.writing() as connection:
            connection.execute(delete(bundles).where(bundles.c.bundle_id == bundle_id))

    def roots_in_use(self, party: PartyKey) -> set[Digest]:
        """Objects of this party that a registered data set or bundle of it needs."""
        parts = {part.root for one in self.datasets_of(party) for part in one.manifest.parts}
        return parts | {one.publication.object.root for one in self.bundles_of(party)}

    def _add(self, table: Table, values: dict[str, Any], party: PartyKey, reply: bytes) -> None:
        same = [table.c[name] == value for name, value in list(values.items())[:1]]
        with self._database.writing() as connection:
            if connection.execute(select(table).where(*same)).first() is None:
                connection.execute(insert(table).values(party=party, reply=reply, registered_at=self._now(), **values))

    def _rows(self, table: Table, *conditions: Any) -> list[Any]:
        with self._database.reading() as connection:
            query = select(table).where(*conditions).order_by(table.c.registered_at)
            return list(connection.execute(query))


def _dataset(row: Any) -> Dataset:
    signed = Signed.decode(bytes(row.manifest))
    return Dataset(DatasetId(row.dataset_id), PartyKey(row.party), signed, row.registered_at)


def _bundle(row: Any) -> Bundle:
    signed = Signed.decode(bytes(row.publication))
    return Bundle(BundleId(row.bundle_id), PartyKey(row.party), signed, row.registered_at)
