"""The operator's hand on the attestation service's collateral: carry it in, carry it out, look at it (side: host).

It works on the cache's files, so the service may be up or down. What is imported is held against the allowed roots
first; and still the enclave verifies it anew with each quote.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from client.events import CollateralSeen, Event, Noted
from common.dcap.collateral import parse_collateral_json
from common.dcap.collateral_authenticity import next_update
from common.dcap.collateral_memory import marks_of
from common.errors import FormatError
from common.json_text import read_json
from common.messages.collateral import CollateralBundle, StoredCollateral
from common.messages.evidence import Collateral
from common.untrusted.collateral_cache import CollateralCache

MAX_FILE_BYTES: Final = 16 << 20


def import_collateral(cache: CollateralCache, source: Path, at: int) -> Iterator[Event]:
    """Store what a file holds: a bundle, or the nine pieces as PCS clients store them. One event for each set.

    Raises what `CollateralCache.put` raises for the first set that is not good; those before it stay.
    """
    for collateral in _read(source):
        yield _seen(cache.put(collateral, f"file {source.name}"[:256], at), at)


def export_collateral(cache: CollateralCache, target: Path, at: int) -> Iterator[Event]:
    """Write everything that is stored to one bundle, for a host without a way to a PCS."""
    stored = cache.all()
    if not stored:
        raise FormatError("format.collateral", expected="a cache that is not empty")
    target.write_bytes(CollateralBundle(sets=tuple(one.collateral for one in stored)).encode())
    yield from (_seen(one, at) for one in stored)


def show_collateral(cache: CollateralCache, at: int) -> Iterator[Event]:
    """One event for each set that is stored."""
    stored = cache.all()
    yield from (_seen(one, at) for one in stored)
    if not stored:
        yield Noted(text="no collateral is stored: platforms bring their own, or their quotes are refused")


def _read(source: Path) -> tuple[Collateral, ...]:
    with source.open("rb") as file:
        raw = file.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise FormatError("format.too_large", expected=f"at most {MAX_FILE_BYTES} bytes")
    try:
        fields = read_json(raw)
    except ValueError as cause:
        raise FormatError("format.collateral", expected="a bundle, or the nine pieces, as JSON") from cause
    if isinstance(fields, dict) and "type" in fields:
        return CollateralBundle.decode(raw, limit=MAX_FILE_BYTES).sets
    return (parse_collateral_json(raw),)


def _seen(stored: StoredCollateral, at: int) -> CollateralSeen:
    marks = {mark.subject.split()[0]: mark for mark in marks_of(stored.collateral)}
    return CollateralSeen(
        name=str(stored.name),
        fmspc=stored.name.fmspc,
        tcb_evaluation=marks["tcb-info"].evaluation,
        qe_evaluation=marks["qe-identity"].evaluation,
        issued=min(mark.issued for mark in marks.values()),
        next_update=next_update(stored.collateral),
        age_seconds=max(0, at - stored.obtained),
        current=at <= next_update(stored.collateral),
        source=stored.source,
    )
