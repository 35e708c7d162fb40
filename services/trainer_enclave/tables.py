"""Opened units as rows: of the columns that the bundle reads and the owners allow (side: enclave).

Holds: nothing; what it gives are views of what was opened.  Reads: the units of `reading`.  Sends: nothing.

All of it raises `FormatError`: format.dataset for what is no data set, or not one of units where units are read one by
one; format.sealed_object for a length of another size class or other padding than zeros.
"""

import itertools
from collections.abc import Collection, Sequence

from common.dataset_payload import read_columns
from common.dataset_reading import UnitReader
from common.errors import FormatError
from common.sealed_object.layout import LENGTH_BYTES, size_class
from services.trainer_enclave.dataset import Columns, require_alike, restrict_columns
from services.trainer_enclave.keeping import OpenUnit
from services.trainer_enclave.reading import SealedPart


class Tables:
    """Tables of a job's data. `allowed`: the columns that each part's policy allows, None for all.

    A table has the columns of `wanted` that are there; a bundle finds the others as if they were not.
    """

    def __init__(
        self, parts: Sequence[SealedPart], allowed: Sequence[Collection[str] | None], wanted: Collection[str]
    ) -> None:
        self._parts, self._allowed, self._wanted = parts, allowed, wanted
        self._readers: dict[int, UnitReader | None] = {}
        self._first: Columns | None = None

    @property
    def rows(self) -> int:
        """Of all data, as their schemas say."""
        return sum(self._reader(part).marks.rows for part in range(len(self._parts)))

    def of_all(self, units: Sequence[OpenUnit]) -> list[Columns]:
        """Tables of all units of all parts, in their order."""
        tables = list[Columns]()
        for part, group in itertools.groupby(units, lambda one: one.unit.part):
            tables += self._of_part(part, list(group))
        return tables

    def of_each(self, units: Sequence[OpenUnit]) -> list[Columns]:
        """The tables of some units: of each that has rows."""
        return [table for one in units if (table := self.of_unit(one))]

    def of_unit(self, opened: OpenUnit) -> Columns:
        """The table of one unit, empty where it has no rows."""
        table = self._reader(opened.unit.part).read(opened.unit.number, opened.plain)
        return self._restrict(opened.unit.part, table) if table else {}

    def unit_rows(self, part: int) -> int:
        """Rows of a full unit of this part."""
        return self._reader(part).marks.unit_rows

    def _of_part(self, part: int, units: list[OpenUnit]) -> list[Columns]:
        sealed = self._parts[part]
        size = int.from_bytes(units[0].plain[:LENGTH_BYTES], "big")
        if size_class(size, sealed.chunk_bytes) != sealed.reference.chunk_count:
            raise FormatError("format.sealed_object", expected="a length of this size class", seen=size)
        self._readers[part] = UnitReader.begin(units[0].plain[: sealed.chunk_bytes], sealed.chunk_bytes)
        if self._readers[part] is not None:
            return self.of_each(units)
        whole = _joined(units)
        end = LENGTH_BYTES + size
        if whole.count(0, end) != len(whole) - end:
            raise FormatError("format.sealed_object", expected="zeros after the payload", seen="others")
        return [self._restrict(part, read_columns(memoryview(whole)[LENGTH_BYTES:end]))]

    def _reader(self, part: int) -> UnitReader:
        if part not in self._readers:
            sealed = self._parts[part]
            self._readers[part] = UnitReader.begin(sealed.first_chunk or b"", sealed.chunk_bytes)
        reader = self._readers[part]
        if reader is None:
            raise FormatError("format.dataset", expected="a payload in units: seal the data anew")
        return reader

    def _restrict(self, part: int, table: Columns) -> Columns:
        allowed = restrict_columns(table, self._allowed[part])
        require_alike(self._first or allowed, allowed)
        self._first = {name: column[:0] for name, column in allowed.items()}
        return {name: column for name, column in allowed.items() if name in self._wanted}


def _joined(units: list[OpenUnit]) -> bytearray:
    """All plaintext of a part; each unit is let go as soon as it was copied."""
    whole = bytearray(sum(len(one.plain) for one in units))
    at = 0
    for one in units:
        whole[at : at + len(one.plain)] = one.plain
        at += len(one.plain)
        one.plain = bytearray()
    return whole
