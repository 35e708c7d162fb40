"""Two distributions side by side, in a terminal and as SVG (side: owner)."""

from collections.abc import Mapping
from html import escape
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]

BINS: Final = 24
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT = 360, 120
_COLOURS: Final = ("#3366aa", "#cc6633")


def shares_of(values: Pair) -> tuple[Floats, Floats, Floats]:
    """Edges of bins between the 1st and the 99th percentile of both, and the share of each side in each bin."""
    known = np.concatenate([one[np.isfinite(one)] for one in values])
    low, high = np.quantile(known, [0.01, 0.99]) if known.size else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    first, second = (
        np.histogram(np.clip(one[np.isfinite(one)], edges[0], edges[-1]), edges)[0] / max(np.isfinite(one).sum(), 1)
        for one in values
    )
    return edges, first, second


def draw_text(name: str, values: Pair) -> list[str]:
    """A heading and a line for each side; the scale is common to both."""
    edges, *sides = shares_of(values)
    top = max(float(one.max()) for one in sides) or 1.0
    lines = [f"{name}, {edges[0]:.3g} to {edges[-1]:.3g} ms"]
    for label, share in zip(("quiet", "other"), sides, strict=True):
        heights = np.ceil(share / top * (len(_BLOCKS) - 1)).astype(int)
        lines.append(f"  {label}  {''.join(_BLOCKS[one] for one in heights)}")
    return lines


def draw_svg(figures: Mapping[str, Pair]) -> str:
    """One picture: a small chart for each name, both sides as outlines."""
    rows = []
    for number, (name, values) in enumerate(figures.items()):
        edges, *sides = shares_of(values)
        top = max(float(one.max()) for one in sides) or 1.0
        y = 30 + number * (_HEIGHT + 50)
        rows.append(f'<text x="20" y="{y - 8}">{escape(name)} ({edges[0]:.3g} to {edges[-1]:.3g} ms)</text>')
        for colour, share in zip(_COLOURS, sides, strict=True):
            step = _WIDTH / BINS
            points = [
                f"{20 + (index + corner) * step:.1f},{y + _HEIGHT * (1 - value / top):.1f}"
                for index, value in enumerate(share)
                for corner in (0, 1)
            ]
            rows.append(f'<polyline fill="none" stroke="{colour}" points="{" ".join(points)}"/>')
        rows.append(f'<line x1="20" x2="{20 + _WIDTH}" y1="{y + _HEIGHT}" y2="{y + _HEIGHT}" stroke="#888"/>')
    height = 30 + len(figures) * (_HEIGHT + 50)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 40}" height="{height}" '
        f'font-family="sans-serif" font-size="12">{"".join(rows)}</svg>\n'
    )
