"""Files of test vectors: what each is, where its bytes come from, what is expected (side: library).

    {"format", "section", "source", "vectors": [{"name", "outcome", ...}]}

`section` is of docs/formats.md. `outcome` is `opens` or the public code of the refusal; bytes are hexadecimal.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

VECTORS: Final = Path(__file__).parent
SECOND: Final = "made by tests/vectors/independent.py, which imports nothing of the product, with fixed salts and keys"
PRODUCT: Final = "made by the product's own encoder from fixed values"

OPENS: Final = "opens"


@dataclass
class VectorFile:
    """One file in the making."""

    path: str
    format: str
    section: int
    source: str = SECOND
    vectors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, outcome: str = OPENS, **fields: Any) -> Self:
        """One more vector."""
        self.vectors.append({"name": name, "outcome": outcome} | {key: _plain(value) for key, value in fields.items()})
        return self

    def encode(self) -> bytes:
        """The file's content."""
        content = {
            "format": self.format,
            "section": f"docs/formats.md, section {self.section}",
            "source": self.source,
            "vectors": self.vectors,
        }
        return json.dumps(content, indent=1).encode() + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return value


def read_vectors(path: str) -> list[dict[str, Any]]:
    """The vectors of a file below tests/vectors."""
    vectors: list[dict[str, Any]] = json.loads((VECTORS / path).read_text())["vectors"]
    return vectors


def changed(data: bytes, at: int) -> bytes:
    """`data` with one bit flipped in byte `at`."""
    return data[: at % len(data)] + bytes([data[at % len(data)] ^ 1]) + data[at % len(data) + 1 :]
