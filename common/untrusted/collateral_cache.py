"""Collateral on disk (side: host).

    DIRECTORY/TEE-FMSPC-CA.json     a StoredCollateral, written by replacement; one for each kind of CPU

It takes only what is authentic under the allowed roots, current, and not older than what it has: a lying server or a
forged file displaces nothing. That is for the host's own good. The enclave believes none of it.
"""

import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

from common.dcap.collateral_authenticity import require_authentic_collateral
from common.dcap.collateral_memory import CollateralMemory, marks_of
from common.errors import FormatError, UnavailableError
from common.messages.collateral import CollateralName, StoredCollateral
from common.messages.evidence import AllowedRoot, Collateral

COLLATERAL_FOLDER: Final = "collateral"
"""Below the state directory of the attestation service."""

MAX_FILES: Final = 256
"""Kinds of CPU. A fleet has a handful."""


class CollateralCache:
    """One directory. Its user's alone, though nothing in it is secret."""

    def __init__(self, directory: Path, roots: Collection[AllowedRoot]) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._roots = directory, roots

    def read(self, name: CollateralName) -> StoredCollateral | None:
        """What is stored under a name; a file that does not parse counts as none."""
        try:
            stored = StoredCollateral.decode((self._directory / f"{name}.json").read_bytes())
        except (OSError, FormatError):
            return None
        return stored if stored.name == name else None

    def all(self) -> list[StoredCollateral]:
        """Everything that is stored and parses, by name."""
        found = []
        for path in sorted(self._directory.glob("*.json"))[:MAX_FILES]:
            try:
                found.append(StoredCollateral.decode(path.read_bytes()))
            except (OSError, FormatError):
                continue
        return found

    def put(
        self, collateral: Collateral, source: str, at: int, *, asked: CollateralName | None = None
    ) -> StoredCollateral:
        """Store collateral that came from `source` at `at`; only if it is what was asked for, if anything was.

        Raises what `require_authentic_collateral` raises, `FreshnessError` (freshness.collateral) for older documents
        than those stored, `UnavailableError` (unavailable.store) when the disk does not take it.
        """
        name = require_authentic_collateral(collateral, self._roots, at)
        if asked is not None and name != asked:
            raise FormatError("format.collateral", expected=asked, seen=name)
        before = self.read(name)
        if before is not None:
            CollateralMemory(marks_of(before.collateral)).require_not_older(marks_of(collateral))
        elif len(list(self._directory.glob("*.json"))) >= MAX_FILES:
            raise UnavailableError("unavailable.store", expected=f"at most {MAX_FILES} kinds of CPU")
        stored = StoredCollateral(name=name, collateral=collateral, obtained=at, source=source)
        self._write(f"{name}.json", stored.encode())
        return stored

    def _write(self, name: str, content: bytes) -> None:
        beside = self._directory / f".{name}.{secrets.token_hex(8)}"
        try:
            beside.write_bytes(content)
            beside.replace(self._directory / name)
        except OSError as cause:
            beside.unlink(missing_ok=True)
            raise UnavailableError("unavailable.store") from cause
