"""Loss and rates of a job as a file: SVG for people, CSV for programs (side: owner). Neither needs a library.

An SVG has two panels over the job's ticks, loss above and rows a second below; each axis goes from the least value to
the greatest and names both. A CSV has one line for each report after the first: `tick,round,loss,rows_per_second,
frames_per_second,real_share`; no loss: an empty field.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from client.durable_file import replace_durably
from client.events import Event
from client.watching.events import CurvesWritten, RateMeasured
from common.errors import FormatError
from common.identifiers import JobId

WIDTH: Final = 900
PANEL: Final = 220
MARGIN: Final = 70
HEIGHT: Final = 2 * (PANEL + MARGIN) + MARGIN
_LOSS_COLOUR: Final = "#b03060"
_RATE_COLOUR: Final = "#3060b0"

Point = tuple[float, float]


class Curves:
    """Collects what is told of one job, and writes it on demand. Raises `FormatError` for an ending it can't write."""

    def __init__(self, path: Path, job_id: JobId) -> None:
        writers: dict[str, Callable[[], str]] = {".svg": self._svg, ".csv": self._csv}
        if path.suffix.lower() not in writers:
            raise FormatError("format.message", expected="a file that ends with .svg or .csv", seen=path.name)
        self._path, self._job_id, self._text = path, job_id, writers[path.suffix.lower()]
        self._rates: list[RateMeasured] = []

    def take(self, event: Event) -> None:
        """Keep it if it is a point of a curve."""
        if isinstance(event, RateMeasured):
            self._rates.append(event)

    def write(self) -> CurvesWritten:
        """Write what was taken so far, in place of a file that is there. Raises `OSError`."""
        replace_durably(self._path, self._text().encode())
        return CurvesWritten(path=str(self._path), reports=len(self._rates))

    def _csv(self) -> str:
        lines = ["tick,round,loss,rows_per_second,frames_per_second,real_share"]
        for one in self._rates:
            loss = "" if one.loss is None else f"{one.loss:.6g}"
            rates = f"{one.rows_per_second:.6g},{one.frames_per_second:.6g},{one.real_share:.6g}"
            lines.append(f"{one.tick},{one.round},{loss},{rates}")
        return "\n".join(lines) + "\n"

    def _svg(self) -> str:
        losses = [(float(one.tick), one.loss) for one in self._rates if one.loss is not None]
        rates = [(float(one.tick), one.rows_per_second) for one in self._rates]
        body = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            _text(MARGIN, MARGIN // 2, self._job_id),
            *_panel("loss", losses, MARGIN, _LOSS_COLOUR),
            *_panel("rows a second", rates, 2 * MARGIN + PANEL, _RATE_COLOUR),
            "</svg>",
        ]
        return "\n".join(body) + "\n"


def _panel(name: str, points: Sequence[Point], top: int, colour: str) -> list[str]:
    """A frame with its name and the ends of both axes, and the curve in it."""
    right, bottom = WIDTH - MARGIN, top + PANEL
    drawn = [
        f'<rect x="{MARGIN}" y="{top}" width="{right - MARGIN}" height="{PANEL}" fill="none" stroke="#888"/>',
        _text(MARGIN + 8, top + 18, name),
    ]
    if not points:
        return [*drawn, _text(MARGIN + 8, top + PANEL // 2, "nothing was reported")]
    (x_low, x_high), (y_low, y_high) = _ends([x for x, _ in points]), _ends([y for _, y in points])
    places = [
        (MARGIN + (x - x_low) / (x_high - x_low) * (right - MARGIN), bottom - (y - y_low) / (y_high - y_low) * PANEL)
        for x, y in points
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return [
        *drawn,
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places),
        _text(4, top + 12, f"{y_high:.4g}"),
        _text(4, bottom, f"{y_low:.4g}"),
        _text(MARGIN, bottom + 18, f"tick {x_low:.0f}"),
        _text(right - 60, bottom + 18, f"tick {x_high:.0f}"),
    ]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="13">{escape(words)}</text>'
