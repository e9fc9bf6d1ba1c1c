"""Numbers over time, drawn: in a line, on a terminal, in a page."""

import xml.etree.ElementTree as ET

import pytest

from connaudit.render.plot import chart, sparkline, svg
from connaudit.render.style import Style
from connaudit.report import Plot

PIPE, UTF8 = Style(utc=True), Style(unicode=True, utc=True)


def plot(*values: float | None, limit: float | None = None) -> Plot:
    points = tuple((float(at), value) for at, value in enumerate(values) if value is not None)
    return Plot("used", 0.0, float(len(values)), points, limit)


def test_a_line_stands_on_zero_and_reaches_its_highest() -> None:
    assert sparkline((0, 25, 50, 75, 100), UTF8) == "▁▃▅▇█"
    assert sparkline((50, 50), UTF8) == "██"
    assert sparkline((0, 0), UTF8) == "▁▁"


def test_what_was_not_sampled_is_blank_and_not_zero() -> None:
    assert sparkline((None, 1, None, 1), UTF8) == " █ █"
    assert sparkline((None,), UTF8) == ""


@pytest.mark.parametrize("style", [PIPE, UTF8])
def test_a_chart_is_as_wide_and_as_high_as_asked(style: Style) -> None:
    lines = chart(plot(*range(100)), style, 60, 10)
    assert len(lines) == 12
    assert max(map(len, lines)) <= 60
    assert lines[10].strip().startswith("0 +-")


def test_a_chart_rises_where_numbers_rise_and_is_blank_where_there_are_none() -> None:
    lines = chart(plot(*[10.0] * 20, *[None] * 20, *[20.0] * 20), PIPE, 66, 4)
    areas = [line.partition("|")[2].ljust(60) for line in lines[:4]]
    assert [area[5] for area in areas] == [" ", " ", "#", "#"]
    assert [area[30] for area in areas] == [" "] * 4
    assert [area[55] for area in areas] == ["#"] * 4


def test_a_limit_that_is_near_is_the_upper_edge() -> None:
    assert chart(plot(40, 50, limit=97), PIPE, 40, 4)[0].strip().startswith("97 |")
    assert chart(plot(1, 2, limit=500), PIPE, 40, 4)[0].strip().startswith("2 |")


def drawing(of: Plot) -> ET.Element:
    return ET.fromstring(svg(of, PIPE))


def test_a_picture_is_sound_and_breaks_where_samples_are_missing() -> None:
    picture = drawing(plot(*[1.0] * 10, *[None] * 10, *[2.0] * 10, *[None] * 10, 3.0))
    assert len(picture.findall("polyline")) == 2
    assert len(picture.findall("circle")) == 1
    points = [
        tuple(map(float, pair.split(",")))
        for line in picture.findall("polyline")
        for pair in line.get("points", "").split()
    ]
    _, _, width, height = map(float, picture.get("viewBox", "").split())
    assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
    assert min(y for _, y in points) < max(y for _, y in points)


def test_a_picture_shows_the_limit_only_where_it_is_near() -> None:
    assert [line.get("class") for line in drawing(plot(40, 50, limit=97)).findall("line")].count("limit") == 1
    assert "limit" not in [line.get("class") for line in drawing(plot(1, 2, limit=500)).findall("line")]


def test_nasty_titles_stay_titles() -> None:
    title = '"><script>alert(1)</script>'
    assert drawing(Plot(title, 0.0, 1.0, ((0.0, 1.0),))).get("aria-label") == title
