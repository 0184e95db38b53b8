"""Plots as SVG text: lines and horizontal bars, drawn by a few lines of ours instead of a plotting library."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from tools.bench.figures import Curve

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 64, 48
BAR, GAP, NAMES = 18, 8, 150
TICKS = 5
COLOURS = ("#1b6ca8", "#d1495b", "#2a9d5c", "#8d6cab", "#c77d1e", "#5b6770")
STYLE = "font-family:system-ui,sans-serif;font-size:12px;fill:#333"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Maps values from 0 to `top` to a stretch of the drawing."""

    top: float
    begins: float
    ends: float

    def at(self, value: float) -> str:
        """Return the coordinate of a value."""
        return f"{self.begins + (self.ends - self.begins) * value / self.top:.1f}"

    @property
    def ticks(self) -> list[float]:
        """Round values from 0 to the top."""
        step = _round_step(self.top)
        return [step * number for number in range(math.floor(self.top / step + 1e-9) + 1)]


def line_chart(title: str, x_label: str, y_label: str, lines: Mapping[str, Curve]) -> str:
    """Return a drawing of curves over one axis, from 0 on both."""
    points = [point for curve in lines.values() for point in curve]
    x = _Scale(_top([point[0] for point in points]), LEFT, WIDTH - RIGHT)
    y = _Scale(_top([point[1] for point in points]) * 1.05, HEIGHT - BOTTOM, TOP)
    drawn = [
        _grid(x, y),
        _label(x_label, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "middle"),
        _label(y_label, 8, TOP - 8),
    ]
    for number, (name, curve) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x.at(across)},{y.at(up)}" for across, up in curve)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn.append(_label(f"— {name}", LEFT + 150 * number, TOP - 26, fill=colour))
    return _page(title, HEIGHT, drawn)


def bar_chart(title: str, bars: Mapping[str, float]) -> str:
    """Return a drawing of horizontal bars, each with its value."""
    x = _Scale(_top(list(bars.values())), NAMES, WIDTH - 90)
    drawn = []
    for number, (name, value) in enumerate(bars.items()):
        top = TOP - 20 + number * (BAR + GAP)
        length = max(float(x.at(value)) - NAMES, 0.5)
        drawn.append(_label(name, NAMES - 8, top + BAR - 5, "end"))
        drawn.append(f'<rect x="{NAMES}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[0]}"/>')
        drawn.append(_label(shown(value), NAMES + length + 6, top + BAR - 5))
    return _page(title, TOP + len(bars) * (BAR + GAP), drawn)


def shown(value: float) -> str:
    """Return a number for people: three significant digits, and no more than are there."""
    if not value or abs(value) >= 100:  # noqa: PLR2004 whole numbers from three digits on
        return f"{value:,.0f}"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def _top(values: Sequence[float]) -> float:
    return max([*values, 0]) or 1.0


def _round_step(top: float) -> float:
    """Return the step of 1, 2 or 5 times a power of ten that gives a handful of ticks."""
    power: float = 10.0 ** math.floor(math.log10(top / TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if top / (power * factor) <= TICKS)


def _grid(x: _Scale, y: _Scale) -> str:
    across = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y.at(tick)}" y2="{y.at(tick)}" stroke="#ddd"/>'
        + _label(shown(tick), LEFT - 8, float(y.at(tick)) + 4, "end")
        for tick in y.ticks
    ]
    up = [_label(shown(tick), float(x.at(tick)), HEIGHT - BOTTOM + 18, "middle") for tick in x.ticks]
    return "\n".join([*across, *up])


def _label(words: str, x: float, y: float, anchor: str = "start", fill: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" style="{STYLE};fill:{fill}">{escape(words)}</text>'


def _page(title: str, height: float, drawn: Sequence[str]) -> str:
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    heading = f'<text x="8" y="20" style="{STYLE};font-size:15px;font-weight:600">{escape(title)}</text>'
    return "\n".join([begin, paper, heading, *drawn, "</svg>", ""])
