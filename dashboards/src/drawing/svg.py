"""Shapes and texts of a picture, in the colours of Grafana's dark theme."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

BACKGROUND, PANEL, LINE, TEXT, FAINT = "#111217", "#181b1f", "#2c3235", "#d8d9e0", "#8e919e"
COLORS = {
    "green": "#73bf69",
    "yellow": "#f2cc0c",
    "orange": "#ff9830",
    "red": "#f2495c",
    "blue": "#5794f2",
    "purple": "#b877d9",
}
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff9830", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a")
WIDTH_OF_A_LETTER = 0.61  # of its height, on the average of a sans serif


class Box(NamedTuple):
    """A place in the picture, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def within(self, left: float, top: float, right: float, bottom: float) -> "Box":
        """Return the box without these margins."""
        return Box(self.x + left, self.y + top, self.width - left - right, self.height - top - bottom)


def color(name: str) -> str:
    """Return a colour of Grafana by its name, any other as it is."""
    return COLORS.get(name, name)


def rectangle(box: Box, fill: str, *, stroke: str = "", radius: float = 0) -> str:
    """Return a rectangle."""
    line = f' stroke="{stroke}"' if stroke else ""
    corner = f' rx="{radius:g}"' if radius else ""
    place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
    return f'<rect {place} fill="{fill}"{line}{corner}/>'


def text(
    x: float, y: float, words: str, *, size: float = 11, fill: str = TEXT, anchor: str = "start", width: float = 0
) -> str:
    """Return a line of text, cut where it would be wider than `width`."""
    if width:
        words = cut(words, width, size)
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{_n(x)}" y="{_n(y)}" font-size="{size:g}" fill="{fill}"{side}>{escape(words, quote=False)}</text>'


def polyline(points: Sequence[tuple[float, float]], stroke: str, *, width: float = 1.4) -> str:
    """Return a line through points."""
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"/>'


def dashed(x: float, top: float, bottom: float, stroke: str) -> str:
    """Return an upright dashed line."""
    ends = f'x1="{_n(x)}" x2="{_n(x)}" y1="{_n(top)}" y2="{_n(bottom)}"'
    return f'<line {ends} stroke="{stroke}" stroke-dasharray="3 3" opacity="0.8"/>'


def dot(x: float, y: float, fill: str) -> str:
    """Return a small diamond."""
    corners = ((x, y - 3), (x + 3, y), (x, y + 3), (x - 3, y))
    return f'<polygon points="{" ".join(f"{_n(a)},{_n(b)}" for a, b in corners)}" fill="{fill}"/>'


def cut(words: str, width: float, size: float = 11) -> str:
    """Return the words, with an ellipsis where they would be wider."""
    most = max(1, int(width / (size * WIDTH_OF_A_LETTER)))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
