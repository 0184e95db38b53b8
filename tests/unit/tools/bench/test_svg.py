from xml.etree import ElementTree as ET

import pytest

from tools.bench.svg import bar_chart, line_chart, shown

SVG = "{http://www.w3.org/2000/svg}"


def drawn(text, kind):
    return ET.fromstring(text).findall(SVG + kind)


def words(text):
    return [label.text for label in drawn(text, "text")]


def test_each_curve_is_drawn_from_left_to_right_and_named():
    chart = line_chart("Rate", "seconds", "per second", {"accepted": [(0, 0), (10, 50)], "decided": [(0, 0), (10, 40)]})
    lines = [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in drawn(chart, "polyline")
    ]
    assert len(lines) == 2
    for (left, bottom), (right, top) in lines:
        assert left < right
        assert bottom > top
    assert lines[0][1][1] < lines[1][1][1]
    assert {"Rate", "seconds", "per second", "— accepted", "— decided"} <= set(words(chart))


def test_the_axes_have_round_numbers():
    chart = line_chart("Rate", "s", "n", {"a": [(0, 0), (10, 47)]})
    assert {"0", "2", "4", "6", "8", "10", "20", "40"} <= set(words(chart))


@pytest.mark.parametrize("lines", [{}, {"nothing": []}, {"flat": [(0, 0), (1, 0)]}])
def test_a_chart_without_height_is_still_a_drawing(lines):
    assert words(line_chart("Rate", "s", "n", lines))[0] == "Rate"


def test_bars_are_as_long_as_their_values():
    chart = bar_chart("CPU", {"web": 8.0, "postgres": 4.0, "beat": 0.0})
    lengths = [float(bar.get("width")) for bar in drawn(chart, "rect")[1:]]
    assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.2)
    assert 0 < lengths[2] < 1
    assert {"web", "8", "postgres", "4"} <= set(words(chart))


def test_names_cannot_break_the_drawing():
    assert words(bar_chart("<CPU> & more", {"a<b": 1.0}))[:2] == ["<CPU> & more", "a<b"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12345.6, "12,346"), (99.96, "100"), (12.34, "12.3"), (1.5, "1.5"), (2.0, "2"), (0.04567, "0.0457")],
)
def test_a_number_is_shown_with_three_digits(value, text):
    assert shown(value) == text
