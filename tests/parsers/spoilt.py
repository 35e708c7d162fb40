"""Spoilt copies of valid bytes, as a Hypothesis strategy (side: library)."""

from typing import Final

from hypothesis import strategies as st

STRANGE: Final = (
    b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff\xff\xff\xff\xff", b'"', b"{", b"[" * 2000, b"\n",
    b"\xed\xa0\x80",
)  # fmt: skip
"""Lengths that are too large, beginnings and ends of texts, a lone surrogate."""


@st.composite
def spoilt(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with a few changes: bits, cuts, repetitions, strange pieces."""
    raw = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted((draw(st.integers(0, len(raw))), draw(st.integers(0, len(raw)))))
        piece = draw(st.one_of(st.sampled_from(STRANGE), st.binary(max_size=8), st.just(raw[at:end] * 2)))
        raw = raw[:at] + piece + raw[draw(st.sampled_from((at, at + len(piece), end))) :]
    return raw
