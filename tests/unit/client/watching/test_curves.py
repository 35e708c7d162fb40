"""Curves are written as SVG that any reader takes, or as CSV; of nothing, too."""

import csv
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from client.watching.curves import HEIGHT, WIDTH, Curves
from client.watching.events import RateMeasured
from common.errors import FormatError
from common.identifiers import JobId

JOB = JobId("job_" + "1" * 32)
SVG = "{http://www.w3.org/2000/svg}"


def rate(tick: int, loss: float | None) -> RateMeasured:
    return RateMeasured(
        job_id=JOB, tick=tick, round=tick // 10, loss=loss, rows_per_second=100.0 + tick, frames_per_second=30.0,
        real_share=0.25,
    )  # fmt: skip


def written(path: Path, *rates: RateMeasured) -> str:
    curves = Curves(path, JOB)
    for one in rates:
        curves.take(one)
    assert curves.write().reports == len(rates)
    return path.read_text()


def test_a_csv_has_a_line_for_each_report(tmp_path: Path) -> None:
    written(tmp_path / "a.csv", rate(10, 0.5), rate(20, None))
    with (tmp_path / "a.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["tick"], first["loss"], first["rows_per_second"]) == ("10", "0.5", "110")
    assert second["loss"] == ""


def test_an_svg_shows_both_curves_within_their_frames(tmp_path: Path) -> None:
    image = ET.fromstring(written(tmp_path / "a.SVG", rate(10, 2.0), rate(20, 1.0), rate(30, None)))  # noqa: S314
    loss, rows = image.findall(f"{SVG}polyline")
    assert len(loss.attrib["points"].split()) == 2
    assert len(rows.attrib["points"].split()) == 3
    for line in (loss, rows):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT
    falling = [float(point.split(",")[1]) for point in loss.attrib["points"].split()]
    assert falling[0] < falling[1]  # y grows downwards
    assert JOB in "".join(image.itertext())


@pytest.mark.parametrize("rates", [(), (rate(10, None),), (rate(10, 1.0),), (rate(10, 1.0), rate(20, 1.0))])
def test_few_points_and_flat_curves_are_drawn(tmp_path: Path, rates: tuple[RateMeasured, ...]) -> None:
    text = written(tmp_path / "a.svg", *rates)
    ET.fromstring(text)  # noqa: S314
    assert "nan" not in text
    assert ("nothing was reported" in text) == all(one.loss is None for one in rates)


def test_other_endings_are_refused_before_anything_is_watched(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="format.message"):
        Curves(tmp_path / "a.png", JOB)
