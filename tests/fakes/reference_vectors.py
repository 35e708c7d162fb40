"""Quotes of real CPUs, derived and simulated ones, with what a verifier must say of each (side: library).

They lie outside the repository: in `CLOISTER_VECTORS`, or in `../shared/vectors` beside the checkout.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.x509 import load_der_x509_certificate

from common.dcap.collateral import parse_collateral_json
from common.dcap.roots import intel_roots, root_key_sha256
from common.messages.evidence import AllowedRoot, SgxDcapEvidence, TdxDcapEvidence

VECTORS = Path(os.environ.get("CLOISTER_VECTORS", Path(__file__).resolve().parents[2].parent / "shared" / "vectors"))


@dataclass(frozen=True)
class Vector:
    """One directory: a quote, its collateral, what is expected of it."""

    path: Path
    expected: dict[str, Any]

    @property
    def at(self) -> int:
        """The time to verify at."""
        return int(self.expected["verify_at"])

    @property
    def quote(self) -> bytes:
        """The quote."""
        return (self.path / "quote.bin").read_bytes()

    def evidence(self) -> SgxDcapEvidence | TdxDcapEvidence:
        """Quote and collateral; raises like any parser when they are no message."""
        collateral = parse_collateral_json((self.path / "collateral.json").read_text())
        kind = TdxDcapEvidence if "tdx" in self.path.name[:4] else SgxDcapEvidence
        return kind(quote=self.quote, collateral=collateral)

    def __str__(self) -> str:
        return self.path.name


def vectors(folder: str) -> list[Vector]:
    """All vectors of a folder; none where the folder is absent."""
    index = VECTORS / folder / "INDEX.json"
    if not index.exists():
        return []
    paths = [VECTORS / entry["dir"] for entry in json.loads(index.read_text())]
    return [Vector(path, json.loads((path / "expected.json").read_text())) for path in paths]


def simulated_roots() -> tuple[AllowedRoot, ...]:
    """The root that the simulated vectors were made under."""
    key = root_key_sha256(load_der_x509_certificate((VECTORS / "simulated" / "root_ca.der").read_bytes()))
    return tuple(AllowedRoot(platform=tee, root_key_sha256=key) for tee in ("sgx", "tdx"))


__all__ = ["VECTORS", "Vector", "intel_roots", "simulated_roots", "vectors"]
