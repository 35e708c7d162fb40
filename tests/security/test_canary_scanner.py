"""The canary scanner itself can fail: it finds one planted leak of each kind, and nothing where nothing is."""

import numpy as np
import pytest

from tests.security.canary import Scanner, planted

MARKER = np.random.default_rng(1).bytes(48)
KINDS = [
    "raw",
    "fragment",
    "hex",
    "HEX",
    "base64+0",
    "base64+1",
    "base64+2",
    "base64url",
    "zlib",
    "gzip",
    "zlib of hex",
    "fp32",
    "fp32/255",
    "bf16",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shift", [0, 3])
def test_each_kind_of_leak_is_found(kind: str, shift: int) -> None:
    hits = Scanner({"m": MARKER, "other": np.random.default_rng(2).bytes(48)}).scan(
        b"x" * shift + planted(MARKER, kind)
    )
    assert {hit.marker for hit in hits} == {"m"}


def test_noise_and_seven_bytes_give_no_hit() -> None:
    scanner = Scanner({"m": MARKER})
    assert scanner.scan(np.random.default_rng(3).bytes(5_000_000) + MARKER[8:15]) == []
    assert scanner.scan(b"") == []
