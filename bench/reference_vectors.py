"""Quotes of real CPUs, derived and simulated ones, with what a verifier must say of each (side: library).

They lie outside the repository: in `CLOISTER_VECTORS`, or in `../shared/vectors` beside the checkout. Each folder has
`quote.bin`, `collateral.json` (as dcap-qvl reads it) and `expected.json`.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.x509 import load_der_x509_certificate
from pydantic import ValidationError

from common.certificate_links import root_key_sha256
from common.dcap import QuoteClaims, verify_quote
from common.dcap.collateral import parse_collateral_json
from common.dcap.roots import intel_roots
from common.errors import Refusal
from common.messages.evidence import AllowedRoot, SgxDcapEvidence, TdxDcapEvidence

VECTORS: Final = Path(
    os.environ.get("CLOISTER_VECTORS", Path(__file__).resolve().parents[1].parent / "shared" / "vectors")
)

EXPLAINED: Final = {
    "sgx3-debug-enclave": "appraisal.debug",
    "tdx4-sept-ve-disable-clear": "appraisal.td_attributes",
    "tdx5-service-td-uptodate": "appraisal.service_td",
    "REJECT Revoked": "appraisal.tcb_status",
    "REJECT debug (unless policy allows)": "appraisal.debug",
}
"""Vectors, or verdicts, for which a particular code is right; else any refusal is."""

_OUT_OF_WINDOW: Final = ("before-window", "after-window")


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

    @property
    def roots(self) -> tuple[AllowedRoot, ...]:
        """The root that it was made under: Intel's, or that of the simulated ones."""
        return simulated_roots() if self.path.parent.name == "simulated" else intel_roots()

    @property
    def status(self) -> str | None:
        """The TCB status that it must be accepted with; None when it must be refused."""
        if self.path.parent.name == "derived":
            return None
        if "must" in self.expected:
            return None if self.expected["must"].startswith("REJECT") else str(self.expected["must"])
        judged = self.expected["dcap_qvl_0_7_0"]
        return str(judged["status"]) if judged["ok"] else None

    @property
    def code(self) -> str | None:
        """The code that it must be refused with, where one is prescribed."""
        if self.path.name.endswith(_OUT_OF_WINDOW):
            return "freshness.collateral"
        return EXPLAINED.get(self.path.name, EXPLAINED.get(str(self.expected.get("must"))))

    def evidence(self) -> SgxDcapEvidence | TdxDcapEvidence:
        """Quote and collateral; raises like any parser when they are no message."""
        collateral = parse_collateral_json((self.path / "collateral.json").read_text())
        kind = TdxDcapEvidence if "tdx" in self.path.name[:4] else SgxDcapEvidence
        return kind(quote=self.quote, collateral=collateral)

    def verify(self) -> QuoteClaims:
        """What verification says. Raises a `Refusal`, or `ValidationError` for bytes that are no evidence."""
        return verify_quote(self.evidence(), self.roots, self.at)

    def accepts(self, evidence: SgxDcapEvidence | TdxDcapEvidence) -> bool:
        """Whether other evidence would be accepted in its place."""
        try:
            verify_quote(evidence, self.roots, self.at)
        except Refusal:
            return False
        return True

    def problem(self) -> str | None:
        """What is wrong with what verification says; None when it is right."""
        try:
            claims = self.verify()
        except ValidationError:
            return None if self.status is None and self.code is None else f"no evidence, but {self.expected} was due"
        except Refusal as refusal:
            right = self.status is None and self.code in (None, refusal.code)
            return None if right else f"{refusal.code} instead of {self.status or self.code}"
        return None if claims.machine.tcb_status == self.status else f"accepted as {claims.machine.tcb_status}"

    def __str__(self) -> str:
        return self.path.name


def vectors(folder: str) -> list[Vector]:
    """All vectors of a folder (authentic, derived, simulated); none where it is absent."""
    index = VECTORS / folder / "INDEX.json"
    if not index.exists():
        return []
    paths = [VECTORS / entry["dir"] for entry in json.loads(index.read_text())]
    return [Vector(path, json.loads((path / "expected.json").read_text())) for path in paths]


def all_vectors() -> list[Vector]:
    """Of all three folders."""
    return [vector for folder in ("authentic", "derived", "simulated") for vector in vectors(folder)]


def simulated_roots() -> tuple[AllowedRoot, ...]:
    """The root that the simulated vectors were made under."""
    key = root_key_sha256(load_der_x509_certificate((VECTORS / "simulated" / "root_ca.der").read_bytes()))
    return tuple(AllowedRoot(platform=tee, root_key_sha256=key) for tee in ("sgx", "tdx"))
