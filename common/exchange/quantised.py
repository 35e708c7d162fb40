"""A QUANTISED payload: what slot 0 found of the final state in int8 (side: library).

    SHA-256 of the model's document 32 | SHA-256 of the FINAL payload 32 | findings (common/sandboxed/quantised_layout)

The document is the graph that the code exports to, as its sandbox wrote it, or the design; of a bundle that holds its
design, an empty one. So a parameter server takes nothing that was found of another model, or of an earlier state.
"""

from dataclasses import dataclass
from typing import Final, Self

from common.crypto.digests import sha256
from common.errors import FormatError
from common.exchange.payloads import Buffer
from common.identifiers import Digest
from common.sandboxed.quantised_layout import FINDINGS_BYTES, Findings

QUANTISED_BYTES: Final = 2 * 32 + FINDINGS_BYTES


@dataclass(frozen=True)
class Quantised:
    """What was found, and of what."""

    document: Digest
    state: Digest
    findings: Findings

    @classmethod
    def of(cls, document: bytes, state: Buffer, findings: Findings) -> Self:
        """Of this document and FINAL payload."""
        return cls(sha256(document), sha256(memoryview(state)), findings)

    def encode(self) -> bytes:
        """`QUANTISED_BYTES` bytes."""
        return self.document.raw() + self.state.raw() + self.findings.encode()

    @classmethod
    def parse(cls, payload: Buffer) -> Self:
        """Raises `FormatError` (format.frame)."""
        view = memoryview(payload)
        if len(view) != QUANTISED_BYTES:
            raise FormatError("format.frame", expected=f"findings of {QUANTISED_BYTES} bytes")
        try:
            findings = Findings.parse(view[64:])
        except ValueError as cause:
            raise FormatError("format.frame", expected="findings of int8") from cause
        return cls(Digest.of(bytes(view[:32])), Digest.of(bytes(view[32:64])), findings)
