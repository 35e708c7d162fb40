"""How pace grows with trainers, as SVG (side: owner)."""

import statistics
from collections.abc import Mapping
from typing import Any, Final

SERIES: Final = {
    "plain processes that exchange nothing": ("images_per_second_plain_one", "images_per_second_plain_two", "#999999"),
    "plain, averaging each step (DDP, gloo)": (None, "images_per_second_ddp", "#cc6633"),
    "protected trainers": ("images_per_second_one", "images_per_second_two", "#3366aa"),
}
"""Figures of one and of two, one core each."""

_WIDTH, _HEIGHT, _BAR, _LEFT, _TOP = 420, 220, 34, 60, 70
_STEPS: Final = 4


def draw_scaling(figures: Mapping[str, Any]) -> str:
    """Medians of images a second as bars, with the least and the most of the turns. Raises `KeyError` without them."""
    bars: list[tuple[int, int, str, list[float]]] = []
    for place, (one, two, colour) in enumerate(SERIES.values()):
        bars += [(group, place, colour, figures[key]) for group, key in enumerate((one, two)) if key is not None]
    top = 1.1 * max(max(turns) for *_, turns in bars)
    rows = [_text(_LEFT, 20, f"ResNet-20, images a second, {figures['toolchain']}")]
    for number in range(_STEPS + 1):
        y = _TOP + _HEIGHT * (1 - number / _STEPS)
        rows += [_line(_LEFT, y, _LEFT + _WIDTH, y, "#dddddd"), _text(10, y + 4, f"{top * number / _STEPS:.0f}")]
    for group, place, colour, turns in bars:
        x, high = _LEFT + 40 + 200 * group + (_BAR + 8) * place, _HEIGHT * statistics.median(turns) / top
        rows.append(
            f'<rect x="{x}" y="{_TOP + _HEIGHT - high:.1f}" width="{_BAR}" height="{high:.1f}" fill="{colour}"/>'
        )
        low, most = (_TOP + _HEIGHT * (1 - one / top) for one in (min(turns), max(turns)))
        rows.append(_line(x + _BAR / 2, low, x + _BAR / 2, most, "#000000"))
    for group, name in enumerate(("one", "two")):
        rows.append(_text(_LEFT + 85 + 200 * group, _TOP + _HEIGHT + 18, name))
    for place, (name, (*_, colour)) in enumerate(SERIES.items()):
        y = _TOP + _HEIGHT + 40 + 18 * place
        rows += [f'<rect x="{_LEFT}" y="{y - 10}" width="12" height="12" fill="{colour}"/>', _text(_LEFT + 20, y, name)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH + 100}" height="{_TOP + _HEIGHT + 100}" '
        f'font-family="sans-serif" font-size="12">{"".join(rows)}</svg>\n'
    )


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}">{words}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'
